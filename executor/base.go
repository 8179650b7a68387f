package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/eval"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// outputRows is the size of the batches that operators cut large results into.
const outputRows = 16 << 10

// base is what all operators have in common.
type base struct {
	node physical.Node
	in   []Operator
	tc   *TaskContext
}

func (b *base) Schema() *arrow.Schema { return b.node.Schema() }
func (b *base) Inputs() []Operator    { return b.in }
func (b *base) String() string        { return b.node.String() }

// Open opens the inputs.
func (b *base) Open(ctx context.Context, tc *TaskContext) error {
	b.tc = tc
	for _, in := range b.in {
		if err := in.Open(ctx, tc); err != nil {
			return err
		}
	}
	return nil
}

// Close closes the inputs.
func (b *base) Close() error {
	var errs []error
	for _, in := range b.in {
		errs = append(errs, in.Close())
	}
	return errors.Join(errs...)
}

// drain hands every batch of in to visit, which borrows it.
func drain(ctx context.Context, in Operator, visit func(rec arrow.RecordBatch) error) error {
	for {
		rec, err := in.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		err = visit(rec)
		rec.Release()
		if err != nil {
			return err
		}
	}
}

// computed evaluates expressions over the batches of one operator. It counts the
// rows it has seen, so that a function of the row's position does not depend on
// how the rows were cut into batches.
type computed struct {
	ev    *eval.Evaluator
	kc    expr.KernelContext
	exprs []expr.Expr
	in    *arrow.Schema
	each  []*eval.Evaluator // of each expression, once one could not be computed
	unfit *unfit
	tc    *TaskContext
}

func newComputed(exprs []expr.Expr, input *arrow.Schema) (*computed, error) {
	ev, err := eval.New(exprs, input)
	if err != nil {
		return nil, err
	}
	return &computed{ev: ev, exprs: exprs, in: input}, nil
}

func (c *computed) open(tc *TaskContext) { c.kc, c.unfit, c.tc = kernelContext(tc), tc.unfit, tc }

// kernelContext is what functions may depend on in a task. NoTime is MinInt64,
// which is also how kernels are told that there is no watermark.
func kernelContext(tc *TaskContext) expr.KernelContext {
	return expr.KernelContext{Alloc: tc.Alloc, Now: int64(tc.Spec.Now), Watermark: int64(tc.Spec.Watermark), Zone: tc.Zone, Seed: tc.Seed}
}

// run returns one array per expression; the caller owns them.
func (c *computed) run(rec arrow.RecordBatch) ([]arrow.Array, error) {
	out, err := c.ev.Run(&c.kc, rec)
	if err != nil && c.unfit != nil && c.unfit.null && c.unfit.takes(err) {
		out, err = c.runNull(rec)
	}
	c.kc.RowBase += rec.NumRows()
	return out, err
}

// relabel returns the columns of rec under another schema.
func relabel(rec arrow.RecordBatch, schema *arrow.Schema) arrow.RecordBatch {
	if rec.Schema() == schema {
		rec.Retain()
		return rec
	}
	return array.NewRecordBatch(schema, rec.Columns(), rec.NumRows())
}

// newBatch makes a batch of arrays that it takes over.
func newBatch(schema *arrow.Schema, cols []arrow.Array, n int) arrow.RecordBatch {
	defer gather.Release(cols)
	return array.NewRecordBatch(schema, cols, int64(n))
}

func typesOf(exprs []expr.Expr) []arrow.DataType {
	out := make([]arrow.DataType, len(exprs))
	for i, e := range exprs {
		out[i] = e.Type()
	}
	return out
}

func fieldTypes(fields []arrow.Field) []arrow.DataType {
	out := make([]arrow.DataType, len(fields))
	for i, f := range fields {
		out[i] = f.Type
	}
	return out
}

// trueRows appends the positions of the rows where a boolean column is true.
func trueRows(arr arrow.Array, n int, dst []int32) []int32 {
	b, ok := arr.(*array.Boolean)
	if !ok {
		return dst
	}
	if n == 0 {
		return dst
	}
	at := len(dst)
	dst = slices.Grow(dst, n)[:at+n]
	// Each position is written, and kept by counting on: which are true is not for a
	// processor to foresee.
	off, bits := b.Data().Offset(), b.Data().Buffers()[1].Bytes()
	valid := bits
	if b.NullN() > 0 {
		valid = b.NullBitmapBytes()
	}
	for i := range n {
		r := off + i
		dst[at] = int32(i)
		at += int(bits[r>>3] & valid[r>>3] >> (r & 7) & 1)
	}
	return dst[:at]
}

// account is what one operator holds besides Arrow's memory.
type account struct {
	charge func(n int64) error
	held   int64
}

// open gives back what an earlier batch has left, if the budget is another one.
func (a *account) open(tc *TaskContext) {
	a.set(0)
	a.charge = tc.Charge
}

// set says how much is held now. More is refused with the budget's error.
func (a *account) set(bytes int64) error {
	if a.charge == nil || bytes == a.held {
		return nil
	}
	if err := a.charge(bytes - a.held); err != nil {
		return err
	}
	a.held = bytes
	return nil
}

// cutter hands out a large result in batches of outputRows.
type cutter struct {
	cols   []arrow.Array
	at, n  int
	rows   int // of a batch; 0 for outputRows
	schema *arrow.Schema
}

// set takes the columns over.
func (c *cutter) set(schema *arrow.Schema, cols []arrow.Array, n int) {
	c.reset()
	c.schema, c.cols, c.n = schema, cols, n
}

func (c *cutter) reset() {
	gather.Release(c.cols)
	c.cols, c.at, c.n = nil, 0, 0
}

// next returns io.EOF after the last row.
func (c *cutter) next() (arrow.RecordBatch, error) {
	if c.at >= c.n {
		c.reset()
		return nil, io.EOF
	}
	rows := c.rows
	if rows == 0 {
		rows = outputRows
	}
	end := min(c.at+rows, c.n)
	cols := make([]arrow.Array, len(c.cols))
	for i, col := range c.cols {
		cols[i] = array.NewSlice(col, int64(c.at), int64(end))
	}
	rec := newBatch(c.schema, cols, end-c.at)
	c.at = end
	return rec, nil
}

// onePass is what operators have in common that take a batch in whole, work on
// their state and then hand out what came of it.
type onePass struct {
	ready []arrow.RecordBatch
	done  bool
}

func (w *onePass) reset() { w.ready, w.done = release(w.ready), false }

// next computes once and hands out the rows that are ready, io.EOF behind the last.
func (w *onePass) next(ctx context.Context, operator string, compute func(context.Context) error) (arrow.RecordBatch, error) {
	if !w.done {
		w.done = true
		if err := compute(ctx); err != nil {
			return nil, fmt.Errorf("state of %s: %w", operator, err)
		}
	}
	return popBatch(&w.ready)
}
