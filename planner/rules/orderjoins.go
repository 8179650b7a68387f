package rules

import (
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// OrderJoins gives inner joins the conditions that stand above them, and orders
// them so that a table is joined to one that it has an equality with: FROM a, b,
// c WHERE .. means a cross join only where nothing relates two tables. A tree
// in which every join has a key already, and no condition above is one, keeps
// its order.
func OrderJoins(n logical.Node) (logical.Node, error) {
	return orderJoins(n, nil, false), nil
}

// orderJoins rewrites n with the conditions of a Filter right above it. settled says
// that n is part of a tree of joins that keeps its order: then its own joins do too,
// and a chain of many joins is looked at once and not once for each of them.
func orderJoins(n logical.Node, conds []exprT, settled bool) logical.Node {
	if f, ok := n.(*logical.Filter); ok {
		return orderJoins(f.Input, append(expr.Conjuncts(f.Cond), conds...), false)
	}
	if settled = settled && isInner(n); isInner(n) && !settled {
		t := newJoinTree(n, conds)
		if t.worth {
			for i, l := range t.leaves {
				t.leaves[i].node = orderJoins(l.node, nil, false)
			}
			return t.build(n)
		}
		settled = len(t.leaves) > 0
	}
	in := n.Inputs()
	out, changed := make([]logical.Node, len(in)), false
	for i, c := range in {
		out[i] = orderJoins(c, nil, settled)
		changed = changed || out[i] != c
	}
	if changed {
		n = n.WithInputs(out)
	}
	return filter(n, conds)
}

func isInner(n logical.Node) bool {
	j, ok := n.(*logical.Join)
	return ok && (j.Kind == logical.Inner || j.Kind == logical.Cross)
}

// joinTree is a tree of inner joins, flattened.
type joinTree struct {
	leaves []leaf
	conds  []joinCond
	worth  bool // some join has no key, or a condition above may be one
}

// leaf is an input of the tree; its columns start at first among those of all
// leaves side by side.
type leaf struct {
	node         logical.Node
	first, width int
}

// joinCond is a condition over the columns of all leaves: a pair of keys, or
// any expression.
type joinCond struct {
	l, r     exprT
	nullSafe bool
	e        exprT
	leaves   map[int]bool
	done     bool
}

func newJoinTree(n logical.Node, above []exprT) *joinTree {
	t := &joinTree{}
	t.flatten(n, 0)
	for _, c := range above {
		t.condition(c)
	}
	for i := range t.conds {
		c := &t.conds[i]
		c.leaves = t.leavesOf(c.e)
		if c.l != nil {
			l, r := t.leavesOf(c.l), t.leavesOf(c.r)
			if len(l) != 1 || len(r) != 1 || sameSet(l, r) { // a key of several leaves fixes the order
				return &joinTree{}
			}
			c.leaves = t.leavesOf(&expr.Logical{Args: []exprT{c.l, c.r}})
		}
		t.worth = t.worth || c.e != nil && len(c.leaves) > 1 && len(above) > 0
	}
	t.worth = t.worth && len(t.leaves) > 1
	return t
}

// flatten adds what is below n, whose columns start at base, and returns how many
// columns that are. It asks no join for its schema: that is made of all below it.
func (t *joinTree) flatten(n logical.Node, base int) (width int) {
	if f, ok := n.(*logical.Filter); ok && isInner(f.Input) {
		width = t.flatten(f.Input, base)
		for _, c := range expr.Conjuncts(f.Cond) {
			t.condition(shift(c, base))
		}
		t.worth = true
		return width
	}
	if !isInner(n) {
		width = n.Schema().NumFields()
		t.leaves = append(t.leaves, leaf{node: n, first: base, width: width})
		return width
	}
	j := n.(*logical.Join)
	lw := t.flatten(j.Left, base)
	width = lw + t.flatten(j.Right, base+lw)
	t.worth = t.worth || len(j.LeftKeys) == 0
	for i := range j.LeftKeys {
		c := joinCond{l: shift(j.LeftKeys[i], base), r: shift(j.RightKeys[i], base+lw)}
		c.nullSafe = j.NullSafe != nil && j.NullSafe[i]
		t.conds = append(t.conds, c)
	}
	for _, c := range expr.Conjuncts(j.Residual) {
		t.condition(shift(c, base))
	}
	return width
}

// condition adds an expression, as a pair of keys if it is an equality.
func (t *joinTree) condition(e exprT) {
	c, ok := e.(*expr.Call)
	if ok && len(c.Args) == 2 && (c.Func.Infix == "=" || c.Func.Infix == "<=>") && expr.Deterministic(e) &&
		expr.TypeName(c.Args[0].Type()) == expr.TypeName(c.Args[1].Type()) {
		a, b := t.leavesOf(c.Args[0]), t.leavesOf(c.Args[1])
		if len(a) == 1 && len(b) == 1 && !sameSet(a, b) {
			t.conds = append(t.conds, joinCond{l: c.Args[0], r: c.Args[1], nullSafe: c.Func.Infix == "<=>"})
			t.worth = true
			return
		}
	}
	t.conds = append(t.conds, joinCond{e: e})
}

func sameSet(a, b map[int]bool) bool {
	for i := range a {
		if !b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

func shift(e exprT, by int) exprT {
	return expr.Remap(e, func(i int) int {
		if i < 0 {
			return i
		}
		return i + by
	})
}

// leavesOf tells which leaves an expression reads.
func (t *joinTree) leavesOf(e exprT) map[int]bool {
	out := map[int]bool{}
	if e == nil {
		return out
	}
	for _, c := range with(nil, e) {
		for i, l := range t.leaves {
			if c >= l.first && c < l.first+l.width {
				out[i] = true
			}
		}
	}
	return out
}

// build joins the leaves, the first one first, each time with the first leaf
// that has a key with what is joined already.
func (t *joinTree) build(n logical.Node) logical.Node {
	at := map[int]int{} // where the columns of all leaves stand in the plan so far
	joined := map[int]bool{}
	var plan logical.Node
	for len(joined) < len(t.leaves) {
		i := t.pick(joined)
		joined[i] = true
		right := t.filtered(i)
		if plan == nil {
			plan = right
		} else {
			plan = t.join(plan, right, i, joined, at)
		}
		base := plan.Schema().NumFields() - t.leaves[i].width
		for k := range t.leaves[i].width {
			at[t.leaves[i].first+k] = base + k
		}
		var rest []exprT
		for k := range t.conds {
			if c := &t.conds[k]; c.e != nil && !c.done && within(c.leaves, joined) {
				c.done = true
				rest = append(rest, move(c.e, at))
			}
		}
		if j, ok := plan.(*logical.Join); ok && isInner(plan) && len(rest) > 0 && len(j.LeftKeys) > 0 {
			d := *j
			d.Residual = expr.AndAll(append(expr.Conjuncts(j.Residual), rest...))
			plan, rest = &d, nil
		}
		plan = filter(plan, rest)
	}
	return restore(plan, at, span(0, n.Schema().NumFields()), n)
}

func within(set, of map[int]bool) bool {
	for i := range set {
		if !of[i] {
			return false
		}
	}
	return true
}

// pick chooses the next leaf: one with a key to those joined, else the first.
func (t *joinTree) pick(joined map[int]bool) int {
	first := -1
	for i := range t.leaves {
		if joined[i] {
			continue
		}
		if first < 0 {
			first = i
		}
		for k := range t.conds {
			if c := &t.conds[k]; c.l != nil && c.leaves[i] && t.ready(c, i, joined) {
				return i
			}
		}
	}
	return first
}

// ready says whether a pair of keys joins leaf i to leaves that are joined.
func (t *joinTree) ready(c *joinCond, i int, joined map[int]bool) bool {
	a, b := t.leavesOf(c.l), t.leavesOf(c.r)
	one := map[int]bool{i: true}
	return sameSet(a, one) && len(b) > 0 && !b[i] && within(b, joined) ||
		sameSet(b, one) && len(a) > 0 && !a[i] && within(a, joined)
}

// filtered puts the conditions on leaf i alone right above it.
func (t *joinTree) filtered(i int) logical.Node {
	l := t.leaves[i]
	var own []exprT
	for k := range t.conds {
		c := &t.conds[k]
		if c.e != nil && !c.done && len(c.leaves) == 1 && c.leaves[i] && expr.Deterministic(c.e) {
			c.done = true
			own = append(own, shift(c.e, -l.first))
		}
	}
	return filter(l.node, own)
}

// join puts leaf i behind the plan with the keys that relate them.
func (t *joinTree) join(plan, right logical.Node, i int, joined map[int]bool, at map[int]int) logical.Node {
	j := &logical.Join{Left: plan, Right: right, Kind: logical.Inner}
	for k := range t.conds {
		c := &t.conds[k]
		if c.done || c.l == nil || !t.ready(c, i, joined) {
			continue
		}
		c.done = true
		l, r := c.l, c.r
		if t.leavesOf(l)[i] {
			l, r = r, l
		}
		addJoinKey(j, move(l, at), shift(r, -t.leaves[i].first), c.nullSafe)
	}
	if len(j.LeftKeys) == 0 {
		j.Kind = logical.Cross
	}
	return j
}
