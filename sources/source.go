package sources

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
)

// Limit bounds what one batch takes from a source. Zero fields do not bound.
type Limit struct {
	Rows  int64
	Bytes int64
	Files int
}

// Source is the driver's half of a connector.
type Source interface {
	// Schema is that of the physical rows, before computed columns.
	Schema() *arrow.Schema
	// Latest returns the furthest readable position, at most limit past from.
	// It returns from itself when nothing is there.
	Latest(ctx context.Context, from batch.Offset, limit Limit) (batch.Offset, error)
	// Plan cuts a range into splits. What it needs to do so again after a
	// restart is durable before Latest returns the range's end.
	Plan(ctx context.Context, r batch.Range) ([]batch.Split, error)
	// Release says that nothing before to will be read again.
	Release(ctx context.Context, to batch.Offset) error
	Close() error
}

// Notifier is what a source with data of its own clock has besides: the channel
// gets a value (or is full) when Latest may have grown. A source without one is
// asked on a poll interval.
type Notifier interface {
	Changed() <-chan struct{}
}

// Opener is the worker's half of a connector.
type Opener interface {
	// Open starts to read a split. columns lists the positions in the schema to
	// return, in that order; nil means all. Of a table that changes, the position
	// behind the last column is that of the kind of change.
	Open(ctx context.Context, s batch.Split, columns []int, alloc memory.Allocator) (Reader, error)
}

// Reader is the one pull shape: sources, operators, exchanges.
type Reader interface {
	// Next returns a batch that the caller owns. io.EOF ends the micro-batch.
	Next(ctx context.Context) (arrow.RecordBatch, error)
	Close() error
}

// Pinner is implemented by sources that a batch may read as a static table:
// Pin returns what the table's version is now (a file list with sizes and
// times, a snapshot ID), for batch.Range.Pin. Plan of a range with a Pin cuts
// the splits of that version, for ever.
type Pinner interface {
	Pin(ctx context.Context) (string, error)
}

// Refresher is implemented by sources whose data people repair. Refresh is called
// at a start with the range of a plan that was never committed, before it is
// planned into splits again. Nothing made of it is visible anywhere, so the source
// may take what the range names as it is now; it returns what it found changed.
type Refresher interface {
	Refresh(ctx context.Context, r batch.Range) (notes []string, err error)
}

// Bounded is implemented by sources that end: Ended reports whether nothing
// will ever come after at (a datagen with number-of-rows, a static table).
type Bounded interface {
	Ended(at batch.Offset) bool
}
