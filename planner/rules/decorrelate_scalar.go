package rules

import (
	"slices"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// scalar unnests a subquery that gives one row whatever its input: projections
// over an aggregate without keys. The aggregate is grouped by what the
// conditions compare with parameters and joined from the left; the projections
// are computed above the join, where an outer row without a group counts as one
// with an empty group.
func (u *unnesting) scalar() (logical.Node, bool) {
	a := u.apply
	if a.On != nil || a.Kind != logical.Inner && a.Kind != logical.LeftOuter {
		return nil, false
	}
	var above []*logical.Project // the outermost first
	n := a.Right
	for p, ok := n.(*logical.Project); ok; p, ok = n.(*logical.Project) {
		above = append(above, p)
		n = p.Input
	}
	agg, ok := n.(*logical.Aggregate)
	if !ok || len(agg.Keys) > 0 {
		return nil, false
	}
	for _, c := range agg.Aggs {
		if u.correlated(aggregateExprs(c)...) {
			return nil, false
		}
	}
	in, preds, ok := u.lift(agg.Input)
	if !ok {
		return nil, false
	}
	g := &logical.Aggregate{Input: in, Aggs: agg.Aggs}
	preds, ok = u.throughKeys(preds, &g.Keys, &g.Names)
	if !ok {
		return nil, false
	}
	lw := a.Left.Schema().NumFields()
	for i, p := range preds {
		preds[i] = u.outer(p, lw)
	}
	kind := logical.LeftOuter
	if len(preds) == 0 {
		kind = logical.Inner
	}
	joined, es, ok := emptyGroups(a.Left, g, kind, preds)
	if !ok {
		return nil, false
	}
	for _, p := range slices.Backward(above) {
		up := make([]exprT, len(p.Exprs))
		for i, e := range p.Exprs {
			up[i] = u.over(e, es)
		}
		es = up
	}
	out := pick(joined, span(0, lw))
	for i, f := range a.Right.Schema().Fields() {
		out.(*logical.Project).Exprs = append(out.(*logical.Project).Exprs, es[i])
		out.(*logical.Project).Names = append(out.(*logical.Project).Names, f.Name)
	}
	return out, true
}

// over replaces columns by es and parameters by what they stand for.
func (u *unnesting) over(e exprT, es []exprT) exprT {
	return expr.Transform(e, func(x exprT) exprT {
		c, ok := x.(*expr.Column)
		switch {
		case !ok:
			return x
		case c.Index < 0:
			return u.outer(c, 0)
		}
		return es[c.Index]
	})
}

// emptyGroups joins a grouping to the rows that it is for and returns what its
// aggregates are there: their value over no rows where a row has no group. ok
// is false where that value cannot be written as a constant.
func emptyGroups(l logical.Node, g *logical.Aggregate, kind logical.JoinKind, preds []exprT) (logical.Node, []exprT, bool) {
	right := logical.Node(g)
	lw, k := l.Schema().NumFields(), len(g.Keys)
	marked := false
	empty := make([]*expr.Literal, len(g.Aggs))
	for i, c := range g.Aggs {
		if c.Func.EmptyNull || kind != logical.LeftOuter {
			continue
		}
		marked = true
		var ok bool
		if empty[i], ok = overNothing(c); !ok {
			return nil, nil, false
		}
	}
	if marked {
		p := pick(g, span(0, k+len(g.Aggs))).(*logical.Project)
		p.Exprs, p.Names = append(p.Exprs, expr.Bool(true)), append(p.Names, "matched")
		right = p
	}
	j := joinOn(l, right, kind, preds)
	es := make([]exprT, len(g.Aggs))
	for i := range g.Aggs {
		c := columnAt(j, lw+k+i)
		es[i] = c
		if empty[i] != nil {
			c.Null = false
			es[i] = &expr.Case{
				Whens: []expr.When{{Cond: columnAt(j, lw+k+len(g.Aggs)), Then: c}}, Else: empty[i], DT: c.DT,
			}
		}
	}
	return j, es, true
}

// overNothing returns the result of an aggregate over no rows.
func overNothing(c *expr.AggCall) (*expr.Literal, bool) {
	acc := c.Func.New(memory.DefaultAllocator)
	defer acc.Release()
	acc.Resize(1)
	arr, err := acc.Final(0, 1)
	if err != nil {
		return nil, false
	}
	defer arr.Release()
	l, ok := expr.LiteralOf(arr, 0)
	return l, ok
}
