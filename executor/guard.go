package executor

import (
	"context"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/eval"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// guard sets rows aside that the operator above could not compute: one that
// combines rows has no way to leave one out.
type guard struct {
	base
	cols  *computed
	times []int // of the columns, those that are event times, whose range is bounded
	bad   int64
	kept  []int32 // of the batch in hand, the rows that are handed on; nil for all
}

// guarding is what an operator computes of the rows of one input.
type guarding struct {
	input int
	exprs []expr.Expr
	times int // so many of the last ones are event times
}

// guardsOf lists what the operators compute that combine rows. Those that take
// rows one by one (Filter, Project, Generate), and conditions on pairs of rows, deal
// with what fails themselves.
func guardsOf(n physical.Node) []guarding {
	one := func(exprs ...expr.Expr) []guarding { return []guarding{{exprs: exprs}} }
	timed := func(times int, exprs []expr.Expr, more ...expr.Expr) []guarding {
		return []guarding{{exprs: append(slices.Clone(exprs), more...), times: times}}
	}
	switch n := n.(type) {
	case *physical.PartialAggregate:
		return one(callExprs(n.Keys, n.Aggs)...)
	case *physical.CompleteAggregate:
		return one(callExprs(n.Keys, n.Aggs)...)
	case *physical.Window:
		return timed(1, nil, n.Time)
	case *physical.Sessions:
		return timed(2, n.Partition, n.Time, n.End)
	case *physical.OpenSessions:
		return timed(2, n.Partition, n.Time, n.End)
	case *physical.FirstWithin:
		return timed(1, n.Keys, n.Time)
	case *physical.Versions:
		return timed(1, n.Keys, n.Time)
	case *physical.LateFilter:
		return one(n.End)
	case *physical.Observe:
		return one(callExprs(nil, n.Aggs)...)
	case *physical.HashJoin:
		return []guarding{{exprs: n.LeftKeys}, {input: 1, exprs: n.RightKeys}}
	case *physical.IntervalJoin:
		return []guarding{
			{exprs: append(slices.Clone(n.LeftKeys), fieldOf(n.Left, n.Times[0])), times: 1}, // Own never fails
			{input: 1, exprs: append(slices.Clone(n.RightKeys), fieldOf(n.Right, n.Times[1])), times: 1},
		}
	case *physical.Sort:
		return one(sortExprs(n.Keys)...)
	case *physical.TopN:
		return one(sortExprs(n.Keys)...)
	case *physical.LimitBy:
		return one(n.By...)
	case *physical.Analytic:
		return one(analyticExprs(n)...)
	case *physical.Match:
		return one(matchExprs(n)...)
	case *physical.StatefulMatch:
		return one(matchExprs(&n.Match)...)
	case *physical.MarkFirst:
		es := slices.Clone(n.Keys)
		for _, m := range n.Marks {
			es = append(append(es, m.Args...), m.Filter)
		}
		return one(es...)
	case *physical.Tally:
		es := slices.Clone(n.Keys)
		for _, s := range n.Sets {
			es = append(append(es, s.Args...), s.Filter)
		}
		return one(es...)
	case *physical.Recompute:
		var out []guarding
		for i, keys := range n.Keys {
			if !n.Static[i] { // such rows are read once, for many batches
				out = append(out, guarding{input: i, exprs: keys})
			}
		}
		return out
	case *physical.Process:
		return processGuards(n)
	}
	return nil
}

// processGuards are the keys and the orders of a processor's inputs.
func processGuards(n *physical.Process) []guarding {
	out := make([]guarding, len(n.Keys))
	for i, keys := range n.Keys {
		if out[i] = (guarding{input: i, exprs: slices.Clone(keys)}); n.Orders[i] != nil {
			out[i].exprs = append(out[i].exprs, n.Orders[i])
		}
	}
	return out
}

func fieldOf(n physical.Node, col int) expr.Expr {
	f := n.Schema().Field(col)
	return &expr.Column{Index: col, Name: f.Name, DT: f.Type, Null: f.Nullable}
}

func callExprs(keys []expr.Expr, aggs []*expr.AggCall) []expr.Expr {
	out := append([]expr.Expr{}, keys...)
	for _, a := range aggs {
		out = append(out, a.Args...)
		out = append(out, sortExprs(a.OrderBy)...)
		out = append(out, a.Filter)
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

func analyticExprs(n *physical.Analytic) []expr.Expr {
	out := append(slices.Clone(n.Partition), sortExprs(n.Order)...)
	for _, c := range n.Calls {
		out = append(out, c.Args...)
		out = append(out, c.Frame.Key, c.Frame.Start.Value, c.Frame.End.Value)
		if c.Agg != nil {
			out = append(out, callExprs(nil, []*expr.AggCall{c.Agg})...)
		}
	}
	return out
}

// matchExprs are what the search for patterns reads of a row alone.
func matchExprs(n *physical.Match) []expr.Expr {
	out := append(slices.Clone(n.Partition), sortExprs(n.Order)...)
	for i := range n.Spec.Slots {
		s := &n.Spec.Slots[i]
		out = append(out, s.Value)
		if s.Agg != nil {
			out = append(out, callExprs(nil, []*expr.AggCall{s.Agg})...)
		}
	}
	return out
}

// guardInputs puts guards below the operators that need them.
func (b *builder) guardInputs(n physical.Node, in []Operator) error {
	if !b.guards(b.task.stage) {
		return nil
	}
	for _, g := range guardsOf(n) {
		if b.guarded[guardAt{n, g.input}] {
			continue // in the stage that it is read from
		}
		var err error
		if in[g.input], err = b.guard(in[g.input], n, g); err != nil {
			return err
		}
	}
	return nil
}

// guards reports whether bad rows of a stage have a place. The output of a static
// stage is used in many batches: no single one could own them.
func (b *builder) guards(s *physical.Stage) bool {
	return b.task.plan.Errors == errorsQuarantine && !(b.task.plan.Stream && s.Static)
}

// guardOutput puts a guard on the root of the stage for the keys by which its rows
// are spread, and for what their reader computes of them: here a row may still be
// one of a source, and no task that reads it could say for all that it is bad.
func (b *builder) guardOutput(root Operator) (Operator, error) {
	s := b.task.stage
	if !b.guards(s) {
		return root, nil
	}
	g := guarding{}
	for _, d := range b.demands(s) {
		g.exprs = append(g.exprs, d.plain()...)
	}
	if to, ok := s.Output.(physical.ToHash); ok {
		g.exprs = append(g.exprs, to.Keys...)
	}
	for _, d := range b.demands(s) {
		g.exprs, g.times = append(g.exprs, d.exprs[len(d.exprs)-d.times:]...), g.times+d.times
	}
	return b.guard(root, s.Root, g)
}

func (g *guarding) plain() []expr.Expr { return g.exprs[:len(g.exprs)-g.times] }

// guard puts a guard over in if one of the expressions may fail.
func (b *builder) guard(in Operator, n physical.Node, what guarding) (Operator, error) {
	var risky []expr.Expr
	var times []int
	for i, e := range what.exprs {
		timed := i >= len(what.exprs)-what.times
		if e == nil || !timed && !fails(e) {
			continue
		}
		if timed {
			times = append(times, len(risky))
		}
		risky = append(risky, e)
	}
	if len(risky) == 0 {
		return in, nil
	}
	cols, err := newComputed(risky, in.Schema())
	if err != nil {
		return nil, err
	}
	g := &guard{base: base{node: n, in: []Operator{in}}, cols: cols, times: times}
	b.task.asides = append(b.task.asides, g)
	return g, nil
}

// fails reports whether an expression cannot be computed for every row that there
// may be.
func fails(e expr.Expr) bool { return e != nil && !eval.Total(e) }

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
	g.kept = nil
	kc := g.cols.kc
	g.cols.kc.RowBase += rec.NumRows()
	try := func(rec arrow.RecordBatch) error {
		cols, err := g.cols.ev.Run(&kc, rec)
		if err != nil {
			return err
		}
		defer gather.Release(cols)
		return g.inRange(cols)
	}
	if err = try(rec); err == nil {
		return rec, nil
	}
	defer rec.Release()
	if !g.tc.unfit.takes(err) {
		return nil, err
	}
	fit, keep, err := g.tc.unfit.pick(g.tc, traced(g.in[0]), rec, try)
	if err != nil {
		return nil, err
	}
	g.kept = keep
	g.bad += rec.NumRows() - fit.NumRows()
	return fit, nil
}

// inRange reports an event time that no window could hold.
func (g *guard) inRange(cols []arrow.Array) error {
	for _, i := range g.times {
		ts, ok := cols[i].(*array.Timestamp)
		if !ok {
			return fmt.Errorf("%s: a time is %s, not a timestamp", g, cols[i].DataType())
		}
		for row, t := range ts.TimestampValues() {
			if err := checkTime(int64(t)); err != nil && ts.IsValid(row) {
				return err
			}
		}
	}
	return nil
}

// below and setAside are for the balance of a task's rows.
func (g *guard) below() Operator { return g.in[0] }
func (g *guard) setAside() int64 { return g.bad }
