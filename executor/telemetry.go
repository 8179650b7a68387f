package executor

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
)

// watched wraps every operator of a task. It counts, and it knows which operator
// is running, so that a panic can be blamed on one.
type watched struct {
	op    Operator
	task  *Task
	name  string // the EXPLAIN line
	depth int    // in the tree; the root is 0
	stats batch.OpCount
	meter *meter // nil unless the operator's memory is measured
}

var _ Operator = (*watched)(nil)

func (w *watched) Schema() *arrow.Schema { return w.op.Schema() }
func (w *watched) Inputs() []Operator    { return w.op.Inputs() }
func (w *watched) String() string        { return w.op.String() }
func (w *watched) Close() error          { return w.op.Close() }

// Open counts from zero again. What a blocking operator does in Open or in its
// first Next counts the same.
func (w *watched) Open(ctx context.Context, tc *TaskContext) error {
	w.stats = batch.OpCount{}
	if w.meter != nil {
		tc = w.meter.open(tc)
	}
	outer := w.task.active
	w.task.active = w
	err := w.op.Open(ctx, tc)
	w.task.active = outer
	return err
}

// Next does not restore what was active on a panic: the innermost operator stays
// to be named.
func (w *watched) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	outer := w.task.active
	w.task.active = w
	var start int64
	nanos := w.task.nanos
	if nanos != nil {
		if start = nanos(); w.task.turn != nil && start >= w.task.turnAt {
			if err := w.task.takeTurn(); err != nil {
				return nil, err
			}
			start = nanos()
		}
	}
	rec, err := w.op.Next(ctx)
	if nanos != nil {
		w.stats.Nanos += nanos() - start
	}
	w.task.active = outer
	if err != nil {
		return nil, err
	}
	w.stats.Rows += rec.NumRows()
	w.stats.Batches++
	if nanos != nil {
		w.stats.Bytes += gather.BatchBytes(rec)
	}
	return rec, nil
}

// turnIfDue is called in the middle of an operator that has much to do.
func (t *Task) turnIfDue() error {
	if t.turn == nil || t.nanos() < t.turnAt {
		return nil
	}
	return t.takeTurn()
}

// takeTurn lets others run that have waited for longer than they should.
func (t *Task) takeTurn() error {
	if err := t.turn(); err != nil {
		return err
	}
	t.turnAt = t.nanos() + turnEvery
	return nil
}
