package eval

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// Evaluator computes a list of expressions over batches of one schema.
type Evaluator struct {
	p    *program
	pool pool
}

// New prepares expressions over an input. Columns are positions in input.
func New(exprs []expr.Expr, input *arrow.Schema) (*Evaluator, error) {
	p, err := compile(exprs, input)
	if err != nil {
		return nil, err
	}
	return &Evaluator{p: p}, nil
}

// Run computes the expressions over rec, which is borrowed. kc gives what
// functions may depend on besides their arguments; only its Alloc is required. The arrays, one
// for each expression and of rec's length, belong to the caller.
func (ev *Evaluator) Run(kc *expr.KernelContext, rec arrow.RecordBatch) ([]arrow.Array, error) {
	n := int(rec.NumRows())
	out := make([]arrow.Array, 0, len(ev.p.roots))
	if n == 0 {
		for _, id := range ev.p.roots {
			out = append(out, array.MakeArrayOfNull(kc.Alloc, ev.p.nodes[id].dt, 0))
		}
		return out, nil
	}
	f := ev.pool.frame(ev.p, kc, n)
	f.rec = rec
	defer f.close()
	for _, id := range ev.p.roots {
		arr, err := f.output(id, n)
		if err != nil {
			vec.ReleaseAll(out)
			return nil, err
		}
		out = append(out, arr)
	}
	return out, nil
}

func (f *frame) output(id, n int) (arrow.Array, error) {
	v, err := f.eval(id)
	if err != nil {
		return nil, err
	}
	if !v.Const && v.Arr.Len() != n {
		return nil, fmt.Errorf("%s gave %d rows for %d", f.p.nodes[id].e, v.Arr.Len(), n)
	}
	return own(f, v, n)
}

// RunBatch is Run with the results as a record batch of the given schema.
func (ev *Evaluator) RunBatch(kc *expr.KernelContext, rec arrow.RecordBatch, out *arrow.Schema) (arrow.RecordBatch, error) {
	cols, err := ev.Run(kc, rec)
	if err != nil {
		return nil, err
	}
	defer vec.ReleaseAll(cols)
	return array.NewRecordBatch(out, cols, rec.NumRows()), nil
}

// Constant computes an expression without columns, to one value.
func Constant(kc *expr.KernelContext, e expr.Expr) (arrow.Array, error) {
	empty := arrow.NewSchema(nil, nil)
	ev, err := New([]expr.Expr{e}, empty)
	if err != nil {
		return nil, err
	}
	one := array.NewRecordBatch(empty, nil, 1)
	defer one.Release()
	out, err := ev.Run(kc, one)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}
