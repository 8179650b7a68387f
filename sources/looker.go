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
//
// An answer belongs to the term in which it was given. A higher term goes on with what was
// given before it began; what a lower one still asks for is refused with batch.ErrFenced,
// and what another process writes down for it counts for nothing.
type Looker interface {
	// Look returns the rows that have one of the keys, each key's once, however often it
	// is asked for, in any order. Keys with a NULL have no rows. The result belongs to the
	// caller. It may be called by several tasks at the same time.
	Look(ctx context.Context, q Lookup, alloc memory.Allocator) (arrow.RecordBatch, error)
	// Settle returns when all answers that the batch was given so far are durable.
	Settle(ctx context.Context, id batch.ID, term batch.Term) error
	// Trim says that no batch before will be run again.
	Trim(ctx context.Context, before batch.ID) error
	Close() error
}

// Lookup asks for the rows of a table whose columns On (positions in the schema) equal those
// of a key.
type Lookup struct {
	Batch   batch.ID
	Term    batch.Term // of the query's life that asks
	On      []int
	Keys    []arrow.RecordBatch // borrowed
	Columns []int               // positions of what is returned; nil means all
}
