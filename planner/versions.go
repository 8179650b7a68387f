package planner

import (
	"slices"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/incremental"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// versions plans a join with the version of a row at a time, where the watermark
// says when no more versions come: in append mode a row waits for that. In the
// other modes it meets what is known, and what is late is dropped alike. Of the
// rows of both sides the filter above keeps the left ones. It returns nil if that
// is not what a filter is.
func (b *builder) versions(filter *logical.Filter) (*fragment, error) {
	n, ok := filter.Input.(*logical.Analytic)
	if !ok || !b.opts.Stream || b.mode == "complete" || !logical.Streaming(n) {
		return nil, nil
	}
	at, ok := incremental.Versioned(n)
	if !ok || !slices.ContainsFunc(expr.Conjuncts(filter.Cond), func(c expr.Expr) bool { return expr.Equal(c, n.Order[1].Expr) }) {
		return nil, nil
	}
	in, err := b.under(n.Input)
	if err != nil {
		return nil, err
	}
	f := b.versionsOf(n, at, in)
	return f.wrap(&physical.Filter{Input: f.root, Cond: filter.Cond}), nil
}

func (b *builder) versionsOf(n *logical.Analytic, at int, in *fragment) *fragment {
	var sorted []expr.SortKey
	for _, p := range n.Partition {
		sorted = append(sorted, expr.SortKey{Expr: p, NullsFirst: true})
	}
	sorted = append(sorted, n.Order...)
	name, t := b.operatorName("versions", n), incremental.EventTimes(n.Input)[at]
	if !t.OnTime {
		in = in.wrap(&physical.LateFilter{Input: in.root, End: n.Order[0].Expr, Shift: t.Shift, Operator: name})
	}
	body := func(table physical.Node) physical.Node {
		return &physical.Analytic{
			Input: &physical.Sort{Input: table, Keys: sorted}, Partition: n.Partition, Order: n.Order, Calls: n.Calls, Out: n.Schema(),
		}
	}
	if b.mode != "append" {
		return b.recompute(name, [][]expr.Expr{n.Partition}, func(tables []physical.Node) physical.Node { return body(tables[0]) }, in)
	}
	f := b.partitioned(in, n.Partition, false)
	id := workTables + b.tables
	b.tables++
	v := &physical.Versions{
		Input: f.root, Keys: n.Partition, Time: n.Order[0].Expr, Shift: t.Shift, Value: n.Calls[0].Args[0].(*expr.Column).Index,
		Table: id, Body: body(&physical.WorkTable{ID: id, Out: n.Input.Schema()}), Operator: name,
	}
	b.query.Verdicts = append(b.query.Verdicts, incremental.Verdict{
		Operator: name, Bound: incremental.ByKeys, Advice: "the last version of each key is kept, and what the watermark has not passed",
	})
	f = f.wrap(v)
	f.state = append(slices.Clone(f.state), name)
	return f
}
