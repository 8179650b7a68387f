package sources

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
)

// Looker is implemented by openers of tables in outside systems in which rows are looked
// up by key. Such a system cannot be asked again for what it has answered, so that the
// answers are kept: an answer that was given to a batch is given to it again.
type Looker interface {
	// Look returns the rows whose columns on (positions in the schema) equal those of a
	// key: once, however often the key is asked for, in any order. Keys with a NULL have
	// no rows. columns lists the positions of what is returned; nil means all. keys are
	// borrowed, the result belongs to the caller. It may be called by several tasks at
	// the same time.
	Look(ctx context.Context, id batch.ID, on []int, keys []arrow.RecordBatch, columns []int, alloc memory.Allocator) (arrow.RecordBatch, error)
	// Settle returns when all answers that the batch was given so far are durable.
	Settle(ctx context.Context, id batch.ID) error
	// Trim says that no batch before will be run again.
	Trim(ctx context.Context, before batch.ID) error
	Close() error
}
