package executor

import (
	"bytes"
	"context"
	"errors"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/eval"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// Policies for rows that cannot be computed, see physical.Plan.Errors.
const (
	errorsNull       = "null"
	errorsQuarantine = "quarantine"
)

// unfit says what becomes of rows that cannot be computed in a task; nil stops at
// the first.
type unfit struct {
	null bool
	put  func(ctx context.Context, row batch.BadRow) error
}

// newUnfit says it for a task.
func newUnfit(a *attempt) *unfit {
	switch a.t.plan.Errors {
	case errorsNull:
		return &unfit{null: true, put: func(context.Context, batch.BadRow) error { return nil }}
	case errorsQuarantine:
		if put := a.bad.of(""); put != nil {
			return &unfit{put: put}
		}
	}
	return nil
}

// takes reports whether an error is of the values of a row, which are then dealt
// with: the user's data, and not memory, cancellation or a fault of the engine.
func (u *unfit) takes(err error) bool {
	if u == nil {
		return false
	}
	k, _ := batch.KindOf(err)
	return k == batch.User
}

// pick keeps of n rows those that one computes alone. It is called when all of them
// together could not be, which is rare, so that the usual way costs nothing.
func (u *unfit) pick(ctx context.Context, tc *TaskContext, rec arrow.RecordBatch, one func(rec arrow.RecordBatch) error) (arrow.RecordBatch, error) {
	keep := make([]int32, 0, rec.NumRows())
	_, err := u.find(ctx, rec, 0, rec.NumRows(), one, &keep)
	if err != nil {
		return nil, err
	}
	if len(keep) == int(rec.NumRows()) {
		return nil, errors.New("rows that cannot be computed together can be one by one")
	}
	return gather.Batch(tc.Alloc, rec, keep)
}

// find halves until it has the rows that fail.
func (u *unfit) find(ctx context.Context, rec arrow.RecordBatch, from, to int64, one func(rec arrow.RecordBatch) error, keep *[]int32) (bad int64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	part := rec.NewSlice(from, to)
	defer part.Release()
	err = one(part)
	switch {
	case err == nil:
		for i := from; i < to; i++ {
			*keep = append(*keep, int32(i))
		}
		return 0, nil
	case !u.takes(err):
		return 0, err
	case to-from == 1:
		raw, jerr := part.MarshalJSON()
		if jerr != nil {
			return 0, errors.Join(err, jerr)
		}
		return 1, u.put(ctx, batch.BadRow{Raw: firstObject(raw), Offset: -1, Reason: err.Error()})
	}
	mid := from + (to-from)/2
	a, err := u.find(ctx, rec, from, mid, one, keep)
	if err != nil {
		return a, err
	}
	b, err := u.find(ctx, rec, mid, to, one, keep)
	return a + b, err
}

// firstObject cuts the brackets of an array of one.
func firstObject(b []byte) []byte {
	b = bytes.TrimSpace(b)
	if len(b) >= 2 && b[0] == '[' {
		return bytes.TrimSpace(b[1 : len(b)-1])
	}
	return b
}

// fit returns the rows for which all expressions can be computed, and sets the
// others aside.
func (c *computed) fit(ctx context.Context, tc *TaskContext, rec arrow.RecordBatch) (arrow.RecordBatch, error) {
	kc := c.kc
	return tc.unfit.pick(ctx, tc, rec, func(rec arrow.RecordBatch) error {
		cols, err := c.ev.Run(&kc, rec)
		if err == nil {
			gather.Release(cols)
		}
		return err
	})
}

// runNull computes expression by expression and reads NULL where one cannot be.
func (c *computed) runNull(rec arrow.RecordBatch) ([]arrow.Array, error) {
	if c.each == nil {
		for _, e := range c.exprs {
			ev, err := eval.New([]expr.Expr{e}, c.in)
			if err != nil {
				return nil, err
			}
			c.each = append(c.each, ev)
		}
	}
	out := make([]arrow.Array, 0, len(c.each))
	for i, ev := range c.each {
		var parts []arrow.Array
		err := c.pieces(ev, c.exprs[i].Type(), rec, &parts)
		if err == nil {
			var all arrow.Array
			if all, err = array.Concatenate(parts, c.kc.Alloc); err == nil {
				out = append(out, all)
			}
		}
		gather.Release(parts)
		if err != nil {
			gather.Release(out)
			return nil, err
		}
	}
	return out, nil
}

// pieces halves until what is left can be computed, or is a row that cannot.
func (c *computed) pieces(ev *eval.Evaluator, dt arrow.DataType, rec arrow.RecordBatch, out *[]arrow.Array) error {
	cols, err := ev.Run(&c.kc, rec)
	n := rec.NumRows()
	switch {
	case err == nil:
		*out = append(*out, cols[0])
		return nil
	case !c.unfit.takes(err):
		return err
	case n == 1:
		*out = append(*out, array.MakeArrayOfNull(c.kc.Alloc, dt, 1))
		return nil
	}
	for _, cut := range [][2]int64{{0, n / 2}, {n / 2, n}} {
		half := rec.NewSlice(cut[0], cut[1])
		err := c.pieces(ev, dt, half, out)
		half.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// guard sets rows aside that the operator above could not compute: one that
// combines rows has no way to leave one out.
type guard struct {
	base
	cols *computed
	bad  int64
}

// guardInputs puts guards below the operators that need them.
func (b *builder) guardInputs(n physical.Node, in []Operator) (err error) {
	if b.task.plan.Errors != errorsQuarantine || b.task.plan.Stream && b.task.stage.Static {
		return nil
	}
	switch n := n.(type) {
	case *physical.PartialAggregate:
		in[0], err = b.guarded(in[0], n, callExprs(n.Keys, n.Aggs))
	case *physical.CompleteAggregate:
		in[0], err = b.guarded(in[0], n, callExprs(n.Keys, n.Aggs))
	case *physical.Window:
		in[0], err = b.guarded(in[0], n, []expr.Expr{n.Time})
	case *physical.HashJoin:
		if in[0], err = b.guarded(in[0], n, n.LeftKeys); err == nil {
			in[1], err = b.guarded(in[1], n, n.RightKeys)
		}
	case *physical.Sort:
		in[0], err = b.guarded(in[0], n, sortExprs(n.Keys))
	case *physical.TopN:
		in[0], err = b.guarded(in[0], n, sortExprs(n.Keys))
	}
	return err
}

func callExprs(keys []expr.Expr, aggs []*expr.AggCall) []expr.Expr {
	out := append([]expr.Expr{}, keys...)
	for _, a := range aggs {
		out = append(out, a.Args...)
		out = append(out, sortExprs(a.OrderBy)...)
		if a.Filter != nil {
			out = append(out, a.Filter)
		}
	}
	return out
}

func sortExprs(keys []expr.SortKey) []expr.Expr {
	out := make([]expr.Expr, len(keys))
	for i, k := range keys {
		out[i] = k.Expr
	}
	return out
}

// guarded puts a guard over in if one of the expressions may fail.
func (b *builder) guarded(in Operator, n physical.Node, exprs []expr.Expr) (Operator, error) {
	var risky []expr.Expr
	for _, e := range exprs {
		switch e.(type) {
		case *expr.Column, *expr.Literal, nil:
		default:
			risky = append(risky, e)
		}
	}
	if len(risky) == 0 {
		return in, nil
	}
	cols, err := newComputed(risky, in.Schema())
	if err != nil {
		return nil, err
	}
	g := &guard{base: base{node: n, in: []Operator{in}}, cols: cols}
	b.task.guards = append(b.task.guards, g)
	return g, nil
}

func (g *guard) Schema() *arrow.Schema { return g.in[0].Schema() }

func (g *guard) Open(ctx context.Context, tc *TaskContext) error {
	g.cols.open(tc)
	g.bad = 0
	return g.base.Open(ctx, tc)
}

func (g *guard) Next(ctx context.Context) (arrow.RecordBatch, error) {
	rec, err := g.in[0].Next(ctx)
	if err != nil {
		return nil, err
	}
	cols, err := g.cols.run(rec)
	if err == nil {
		gather.Release(cols)
		return rec, nil
	}
	defer rec.Release()
	if !g.tc.unfit.takes(err) {
		return nil, err
	}
	fit, err := g.cols.fit(ctx, g.tc, rec)
	if err != nil {
		return nil, err
	}
	g.bad += rec.NumRows() - fit.NumRows()
	return fit, nil
}
