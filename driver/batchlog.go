package driver

import (
	"context"
	"iter"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
)

// BatchLog is the only truth about what was planned and committed.
type BatchLog interface {
	// Append makes the records durable as one group, in order. batch.ErrFenced if
	// a newer term has written. The same group again is nil. After another error
	// the log takes nothing more.
	Append(ctx context.Context, term batch.Term, recs ...microbatch.Record) error
	// Replay returns the records whose ID is at least from, oldest first; all of
	// them for from <= 0.
	Replay(ctx context.Context, from batch.ID) iter.Seq2[microbatch.Record, error]
	// Truncate may drop records whose ID is smaller than before.
	Truncate(ctx context.Context, before batch.ID) error
	Close() error
}
