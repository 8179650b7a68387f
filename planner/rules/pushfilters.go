package rules

import (
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// PushFilters moves conditions towards the sources. It never moves one below a
// Watermark: the event time that a source has reached is that of all its rows,
// whatever a query wants of them.
func PushFilters(n logical.Node) (logical.Node, error) {
	return push(n, nil), nil
}

// push rewrites n with the conjuncts conds, which hold over n's columns, applied as low as can be.
func push(n logical.Node, conds []exprT) logical.Node {
	switch n := n.(type) {
	case *logical.Filter:
		return push(n.Input, append(expr.Conjuncts(n.Cond), conds...))
	case *logical.Project:
		return pushProject(n, conds)
	case *logical.Window:
		width := n.Input.Schema().NumFields()
		below, above := split(conds, func(set map[int]bool) bool {
			return allIn(set, 0, width) && (n.Kind != logical.Session || amongColumns(set, n.Partition))
		})
		c := *n
		c.Input = push(n.Input, below)
		return filter(&c, above)
	case *logical.Aggregate:
		return pushAggregate(n, conds)
	case *logical.Analytic:
		return pushAnalytic(n, conds)
	case *logical.Join:
		return pushJoin(n, conds)
	case *logical.Union:
		out := make([]logical.Node, len(n.In))
		for i, in := range n.In {
			out[i] = push(in, conds)
		}
		return &logical.Union{In: out}
	case *logical.Distinct:
		return &logical.Distinct{Input: push(n.Input, conds), TTL: n.TTL}
	case *logical.Sort:
		return &logical.Sort{Input: push(n.Input, conds), Keys: n.Keys}
	default:
		in := n.Inputs()
		if len(in) == 0 {
			return filter(n, conds)
		}
		out := make([]logical.Node, len(in))
		for i, c := range in {
			out[i] = push(c, nil)
		}
		return filter(n.WithInputs(out), conds)
	}
}

func filter(n logical.Node, conds []exprT) logical.Node {
	if len(conds) == 0 {
		return n
	}
	return &logical.Filter{Input: n, Cond: expr.AndAll(conds)}
}

// pushProject replaces columns by what computes them. An expression that is not
// the same each time it runs must not run twice, and one that takes long should
// not, so it stops the condition.
func pushProject(n *logical.Project, conds []exprT) logical.Node {
	var below, above []exprT
	for _, c := range conds {
		set := map[int]bool{}
		expr.Columns(c, set)
		ok := expr.Deterministic(c)
		for i := range set {
			ok = ok && expr.Deterministic(n.Exprs[i]) && !isCostly(n.Exprs[i])
		}
		if ok {
			below = append(below, substitute(c, n.Exprs))
		} else {
			above = append(above, c)
		}
	}
	return filter(&logical.Project{Input: push(n.Input, below), Exprs: n.Exprs, Names: n.Names}, above)
}

// pushAggregate passes conditions on keys alone; without keys even a false one
// must leave the one row of the aggregate to be filtered above.
func pushAggregate(n *logical.Aggregate, conds []exprT) logical.Node {
	below, above := split(conds, func(set map[int]bool) bool {
		return len(set) > 0 && allIn(set, 0, len(n.Keys))
	})
	for i, c := range below {
		below[i] = substitute(c, n.Keys)
	}
	c := *n
	c.Input = push(n.Input, below)
	return filter(&c, above)
}

// pushAnalytic passes conditions on partition keys alone: they keep or drop
// whole partitions, and what is left of those is what was there.
func pushAnalytic(n *logical.Analytic, conds []exprT) logical.Node {
	keys := map[int]bool{}
	for _, e := range n.Partition {
		if c, ok := e.(*expr.Column); ok {
			keys[c.Index] = true
		}
	}
	below, above := split(conds, func(set map[int]bool) bool {
		for i := range set {
			if !keys[i] {
				return false
			}
		}
		return len(set) > 0
	})
	c := *n
	c.Input = push(n.Input, below)
	return filter(&c, above)
}

// pushJoin sends a condition to the side whose columns it reads, where that
// side's rows are not made up by the join (the nullable side of an outer join).
func pushJoin(n *logical.Join, conds []exprT) logical.Node {
	lw := n.Left.Schema().NumFields()
	total := lw + n.Right.Schema().NumFields()
	leftOK := n.Kind != logical.RightOuter && n.Kind != logical.FullOuter
	rightOK := n.Kind == logical.Inner || n.Kind == logical.RightOuter || n.Kind == logical.Cross
	var left, right, above []exprT
	for _, c := range conds {
		set := map[int]bool{}
		expr.Columns(c, set)
		switch {
		case !expr.Deterministic(c) || len(set) == 0:
			above = append(above, c)
		case leftOK && allIn(set, 0, lw):
			left = append(left, c)
		case rightOK && allIn(set, lw, total):
			right = append(right, expr.Remap(c, func(i int) int { return i - lw }))
		default:
			above = append(above, c)
		}
	}
	c := *n
	c.Left, c.Right = push(n.Left, left), push(n.Right, right)
	return filter(&c, above)
}

func split(conds []exprT, fits func(set map[int]bool) bool) (below, above []exprT) {
	for _, c := range conds {
		set := map[int]bool{}
		expr.Columns(c, set)
		if expr.Deterministic(c) && fits(set) {
			below = append(below, c)
		} else {
			above = append(above, c)
		}
	}
	return below, above
}

func allIn(set map[int]bool, lo, hi int) bool {
	for i := range set {
		if i < lo || i >= hi {
			return false
		}
	}
	return true
}

// substitute replaces column i by es[i].
func substitute(e exprT, es []exprT) exprT {
	return expr.Transform(e, func(x exprT) exprT {
		if c, ok := x.(*expr.Column); ok {
			return es[c.Index]
		}
		return x
	})
}

// amongColumns says whether all columns of a set are among expressions that are
// columns: whole partitions pass a condition over those, or none of their rows.
func amongColumns(set map[int]bool, es []exprT) bool {
	found := 0
	seen := map[int]bool{}
	for _, e := range es {
		if c, ok := e.(*expr.Column); ok && set[c.Index] && !seen[c.Index] {
			seen[c.Index] = true
			found++
		}
	}
	return found == len(set)
}
