package sinks

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
)

// Op is the kind of change of an output row, see batch.Op.
type Op = batch.Op

// The kinds of change.
const (
	Insert       = batch.Insert
	UpdateBefore = batch.UpdateBefore
	UpdateAfter  = batch.UpdateAfter
	Delete       = batch.Delete
)

// OpColumn is the name of the change column in batches of an output that is not
// append-only; without it all rows are Insert.
const OpColumn = batch.OpColumn

// Attempt tells a writer whose output it makes.
type Attempt struct {
	Task batch.TaskID
	Term batch.Term
	Now  batch.EventTime // the batch's now(), for names and partitions that need a time
}

// Writer makes one task's output durable and invisible. It is used by one goroutine.
type Writer interface {
	// Write takes rows, borrowed.
	Write(ctx context.Context, rec arrow.RecordBatch) error
	// Prepare makes everything durable and returns the handle for Commit. A
	// writer that got no rows may return a handle with Rows 0 and no payload.
	Prepare(ctx context.Context) (batch.Prepared, error)
	// Discard throws everything away; after Prepare too.
	Discard() error
}

// WriterFactory is the worker's half of a sink.
type WriterFactory interface {
	NewWriter(ctx context.Context, a Attempt, schema *arrow.Schema, alloc memory.Allocator) (Writer, error)
}

// Sink is the driver's half.
type Sink interface {
	// Commit reveals a batch. parts are in task order. Idempotent per (query, id).
	Commit(ctx context.Context, id batch.ID, term batch.Term, parts []batch.Prepared) error
	// Abort throws prepared output away that will never be committed.
	Abort(ctx context.Context, id batch.ID, term batch.Term, parts []batch.Prepared) error
	// Holds returns the last batch that the target holds for this query, batch.None
	// if none, and its digest if the target stores one. For SHOW VERSIONS and recovery.
	Holds(ctx context.Context) (batch.ID, batch.Digest, error)
	Close() error
}
