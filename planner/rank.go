package planner

import (
	"slices"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/incremental"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// pruned makes a Recompute keep only the rows that come out, if it can: its input
// never takes a row back, and a row that has dropped out stays out.
func (b *builder) pruned(f, in *fragment, can bool) *fragment {
	if !can || in.changes {
		return f
	}
	b.query.Verdicts[len(b.query.Verdicts)-1] = incremental.Verdict{
		Operator: b.query.Verdicts[len(b.query.Verdicts)-1].Operator, Bound: incremental.ByKeys, Advice: "only the rows that come out are kept",
	}
	return b.changeRecompute(f, func(c *physical.Recompute) { c.Prune = true })
}

// ranked plans a condition over the ranks of a growing input, such as
// ROW_NUMBER() OVER (PARTITION BY .. ORDER BY ..) <= 3: a row that ranks behind the
// bound never comes back and need not be kept. It returns nil if that is not
// what the condition is.
func (b *builder) ranked(n *logical.Filter) (*fragment, error) {
	a, ok := n.Input.(*logical.Analytic)
	if !ok || !b.opts.Stream || !logical.Streaming(a) || b.mode == "complete" && b.above == 0 || len(a.Order) == 0 {
		return nil, nil
	}
	width := a.Input.Schema().NumFields()
	for _, c := range a.Calls {
		switch c.FuncName() {
		case "row_number", "rank", "dense_rank":
		default:
			return nil, nil
		}
	}
	var bounds []expr.Expr
	for _, c := range expr.Conjuncts(n.Cond) {
		if upper, ok := rankBound(c, width); ok {
			bounds = append(bounds, upper)
		}
	}
	if len(bounds) == 0 {
		return nil, nil
	}
	in, err := b.under(a.Input)
	if err != nil {
		return nil, err
	}
	if in.static || in.changes { // what is built is used: built anew it would be read twice
		f, err := b.analyticOver(a, in)
		if err != nil {
			return nil, err
		}
		return b.filterOver(n, f)
	}
	keys := make([]expr.SortKey, 0, len(a.Partition)+len(a.Order))
	for _, p := range a.Partition {
		keys = append(keys, expr.SortKey{Expr: p, NullsFirst: true})
	}
	keys = append(keys, a.Order...)
	if a.AtWatermark {
		f, err := b.overTime(a, in, keys, firstRanks(a, bounds))
		if err != nil {
			return nil, err
		}
		return b.filterOver(n, f)
	}
	name, parts := b.operatorName("rank", n), [][]expr.Expr{a.Partition}
	c := closingBy([]logical.Node{a.Input}, parts)
	if first := firstRanks(a, bounds); c.key < 0 && len(a.Calls) == 1 && a.Calls[0].FuncName() == "row_number" && 0 < first && first <= physical.RankLimitMax {
		f := b.firstOf(a, in, name, int(first))
		return f.wrap(&physical.Filter{Input: f.root, Cond: n.Cond}), nil
	}
	f := b.recompute(name, parts, func(tables []physical.Node) physical.Node {
		ranks := &physical.Analytic{Input: &physical.Sort{Input: tables[0], Keys: keys}, Partition: a.Partition, Order: a.Order, Calls: a.Calls, Out: a.Schema()}
		return &physical.Filter{Input: ranks, Cond: expr.AndAll(bounds)}
	}, c.onTime(name, parts, in)...)
	f = b.closeGroups(b.pruned(f, in, true), c, b.mode == "append")
	return f.wrap(&physical.Filter{Input: f.root, Cond: n.Cond}), nil
}

// firstOf plans ROW_NUMBER() up to a bound over rows that only grow: the first rows of
// each partition are kept, in their order.
func (b *builder) firstOf(a *logical.Analytic, in *fragment, name string, limit int) *fragment {
	f := b.partitioned(in, a.Partition, false)
	f = f.wrap(&physical.Rank{Input: f.root, Partition: a.Partition, Order: a.Order, Limit: limit, Operator: name, Out: withOp(a.Schema())})
	f.state, f.changes = append(slices.Clone(f.state), name), true
	b.query.Verdicts = append(b.query.Verdicts, incremental.Verdict{
		Operator: name, Bound: incremental.ByKeys, Advice: "only the rows that come out are kept",
	})
	return f
}

// firstRanks is how many rows of a partition can pass the bounds of their ranks, if
// it is known: 0 if not.
func firstRanks(a *logical.Analytic, bounds []expr.Expr) int64 {
	for _, c := range a.Calls {
		if c.Kind == expr.DenseRank {
			return 0 // many rows have the first of them
		}
	}
	first := int64(0)
	for _, e := range bounds {
		c, _ := e.(*expr.Call)
		at := 0
		if c.Func.Name == ">" || c.Func.Name == ">=" {
			at = 1
		}
		lit, _ := c.Args[1-at].(*expr.Literal)
		v, ok := lit.Value.(int64)
		if !ok {
			continue
		}
		if c.Func.Name == "<" || c.Func.Name == ">" {
			v--
		}
		if v >= 1 && (first == 0 || v < first) {
			first = v
		}
	}
	return first
}

// rankBound recognises conditions that bound one of the columns from width on from
// above, so that a rank that breaks them breaks them ever after.
func rankBound(e expr.Expr, width int) (expr.Expr, bool) {
	c, ok := e.(*expr.Call)
	if !ok || len(c.Args) != 2 {
		return nil, false
	}
	at := 0
	switch c.Func.Name {
	case "<", "<=", "=":
	case ">", ">=":
		at = 1
	default:
		return nil, false
	}
	col, isCol := c.Args[at].(*expr.Column)
	lit, isLit := c.Args[1-at].(*expr.Literal)
	if !isCol || !isLit || col.Index < width {
		return nil, false
	}
	v, isInt := lit.Value.(int64)
	return e, c.Func.Name != "=" || isInt && v == 1
}
