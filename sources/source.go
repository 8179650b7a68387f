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

// Keeper is implemented by openers that can keep connections for the splits to come. They
// do so from Keep on; who calls it calls done when no reader is open any more.
type Keeper interface {
	Keep() (done func())
}

// Dated is implemented by readers that know when their system was given each row:
// Arrived counts the rows that were returned, once all of the split were.
type Dated interface {
	Arrived() batch.Arrivals
}

// Bounded is implemented by sources that end: Ended reports whether nothing
// will ever come after at (a datagen with number-of-rows, a static table).
type Bounded interface {
	Ended(at batch.Offset) bool
}

// Rewinder is implemented by sources whose input can be read again from its
// beginning (Connector.Rewinds), so that state can be made from it that a query does
// not have. Whoever asks has opened a source of its own, over a copy of what the
// query's source has written down (Spec.Dir): nothing of the query's is changed.
type Rewinder interface {
	// Rewind cuts what lies between two positions that were handed out into steps of
	// about the limit, and returns where each ends: the last at to, none if from is to.
	// From "" is the beginning. It refuses, with the position, where the input is not
	// all there any more. Plan takes ranges between the positions afterwards.
	Rewind(ctx context.Context, from, to batch.Offset, limit Limit) ([]batch.Offset, error)
}

// Accessor is implemented by sources of tables that find rows in other ways than by
// reading all: Access says for EXPLAIN what Spec.Where has led to.
type Accessor interface {
	Access() string
}

// Steps cuts rows [from, to) into steps of at most limit rows, and returns where each
// ends. A row takes about rowBytes.
func Steps(from, to, rowBytes int64, limit Limit) []int64 {
	step := to - from
	if limit.Rows > 0 {
		step = min(step, limit.Rows)
	}
	if limit.Bytes > 0 {
		step = min(step, max(limit.Bytes/max(rowBytes, 1), 1))
	}
	var out []int64
	for from < to {
		from = min(from+step, to)
		out = append(out, from)
	}
	return out
}
