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

// Stager is implemented by sinks that can do a part of a commit's work before the batch
// is committed, such as to send messages in an open transaction.
type Stager interface {
	// Stage is told of a batch while its commit is being made durable and the one before
	// is shown. No reader may see it before Commit, unless the sink promises no more than
	// at least once. Commit of the same batch and parts follows, maybe at the same time,
	// and does what Stage has not; or none does, as after a failure: then the sink gives
	// up what it has staged at the next Commit, or when it is closed.
	Stage(ctx context.Context, id batch.ID, term batch.Term, parts []batch.Prepared)
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
