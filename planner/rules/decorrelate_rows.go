package rules

import (
	"slices"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// dependLimit cuts the rows of each row of the domain by themselves, in the
// order of the Sort that stood below.
func (u *unnesting) dependLimit(n *logical.Limit, in logical.Node) logical.Node {
	w := n.Schema().NumFields()
	l := &logical.LimitBy{Input: in, Count: n.Count, Offset: n.Offset}
	if s, ok := n.Input.(*logical.Sort); ok {
		l.Keys = slices.Clone(s.Keys)
		for i := range l.Keys {
			l.Keys[i].Expr = u.within(l.Keys[i].Expr, w)
		}
	}
	for k := range u.params {
		l.By = append(l.By, columnAt(in, w+k))
	}
	return l
}

// dependGenerate makes the elements behind the domain's columns, and puts them
// back in front.
func (u *unnesting) dependGenerate(n *logical.Generate, in logical.Node) logical.Node {
	w, d := n.Input.Schema().NumFields(), len(u.params)
	c := *n
	c.Input, c.Args = in, u.withinAll(n.Args, w)
	return pick(&c, slices.Concat(span(0, w), span(w+d, w+d+len(n.Out)), span(w, w+d)))
}

// pruneGenerate keeps all that is made: an element is as cheap as its row.
func pruneGenerate(n *logical.Generate, need []int) (logical.Node, map[int]int) {
	if n.Keep != nil { // it was pruned before
		return n, identityMap(allOf(n))
	}
	width := n.Input.Schema().NumFields()
	var below []int
	for _, w := range need {
		if w < width {
			below = append(below, w)
		}
	}
	in, at := prune(n.Input, with(below, n.Args...))
	c := *n
	c.Input, c.Args, c.Keep = in, moveAll(n.Args, at), make([]int, len(below))
	out := map[int]int{}
	for i, w := range below {
		c.Keep[i], out[w] = at[w], i
	}
	for _, w := range need {
		if w >= width {
			out[w] = len(below) + w - width
		}
	}
	return &c, out
}

// allOf lists all columns of a node.
func allOf(n logical.Node) []int {
	all := make([]int, n.Schema().NumFields())
	for i := range all {
		all[i] = i
	}
	return all
}

func pruneLimitBy(n *logical.LimitBy, need []int) (logical.Node, map[int]int) {
	es := slices.Clone(n.By)
	for _, k := range n.Keys {
		es = append(es, k.Expr)
	}
	in, at := prune(n.Input, with(need, es...))
	c := *n
	c.Input, c.By = in, moveAll(n.By, at)
	c.Keys = append([]expr.SortKey{}, n.Keys...)
	for i := range c.Keys {
		c.Keys[i].Expr = move(c.Keys[i].Expr, at)
	}
	return &c, at
}

// dependAnalytic computes window functions for each row of the domain by
// itself. Their arguments must not use parameters: those are constants there.
func (u *unnesting) dependAnalytic(n *logical.Analytic, in logical.Node) (logical.Node, error) {
	if u.correlated(logical.Exprs(n)...) {
		return nil, refuse("the arguments of a window function, " + n.String() + ",")
	}
	w, d := n.Input.Schema().NumFields(), len(u.params)
	c := *n
	c.Input, c.Partition = in, slices.Clone(n.Partition)
	for k := range u.params {
		c.Partition = append(c.Partition, columnAt(in, w+k))
	}
	return pick(&c, slices.Concat(span(0, w), span(w+d, w+d+len(n.Calls)), span(w, w+d))), nil
}
