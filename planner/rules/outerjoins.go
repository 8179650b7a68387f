package rules

import (
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// OuterToInner makes an outer join an inner one, or one that keeps fewer rows,
// where the rows that it would make up with NULLs are dropped above: by a
// condition or a join key that is not true for NULL.
func OuterToInner(n logical.Node) (logical.Node, error) {
	return outerToInner(n, nil), nil
}

// outerToInner rewrites n; rows with a NULL in one of the columns dropped do not
// reach the result.
func outerToInner(n logical.Node, dropped map[int]bool) logical.Node {
	switch n := n.(type) {
	case *logical.Filter:
		below := copySet(dropped)
		for _, c := range expr.Conjuncts(n.Cond) {
			rejects(c, below)
		}
		return withInput(n, n.Input, outerToInner(n.Input, below))
	case *logical.Sort:
		return withInput(n, n.Input, outerToInner(n.Input, dropped))
	case *logical.Project:
		below := map[int]bool{}
		for i, e := range n.Exprs {
			if dropped[i] {
				strictColumns(e, below)
			}
		}
		return withInput(n, n.Input, outerToInner(n.Input, below))
	case *logical.Join:
		return outerJoin(n, dropped)
	}
	in := n.Inputs()
	out, changed := make([]logical.Node, len(in)), false
	for i, c := range in {
		out[i] = outerToInner(c, nil)
		changed = changed || out[i] != c
	}
	if !changed {
		return n
	}
	return n.WithInputs(out)
}

func withInput(n, old, in logical.Node) logical.Node {
	if in == old {
		return n
	}
	return n.WithInputs([]logical.Node{in})
}

func copySet(s map[int]bool) map[int]bool {
	out := make(map[int]bool, len(s))
	for i := range s {
		out[i] = true
	}
	return out
}

func outerJoin(n *logical.Join, dropped map[int]bool) logical.Node {
	lw := n.Left.Schema().NumFields()
	left, right := map[int]bool{}, map[int]bool{}
	for i := range dropped {
		if i < lw {
			left[i] = true
		} else {
			right[i-lw] = true
		}
	}
	kind := n.Kind
	if len(right) > 0 { // no row of the left is kept for itself
		switch kind {
		case logical.LeftOuter:
			kind = logical.Inner
		case logical.FullOuter:
			kind = logical.RightOuter
		default: // it keeps none
		}
	}
	if len(left) > 0 {
		switch kind {
		case logical.RightOuter:
			kind = logical.Inner
		case logical.FullOuter:
			kind = logical.LeftOuter
		default: // it keeps none
		}
	}
	keysDrop(n, kind, left, right)
	l, r := outerToInner(n.Left, left), outerToInner(n.Right, right)
	if l == n.Left && r == n.Right && kind == n.Kind {
		return n
	}
	c := *n
	c.Left, c.Right, c.Kind = l, r, kind
	return &c
}

// keysDrop adds the columns whose NULLs meet no partner, on the sides whose
// unmatched rows are dropped, and forgets what does not hold below.
func keysDrop(n *logical.Join, kind logical.JoinKind, left, right map[int]bool) {
	leftGoes := kind == logical.Inner || kind == logical.LeftSemi || kind == logical.RightOuter
	rightGoes := kind == logical.Inner || kind == logical.LeftSemi || kind == logical.LeftAnti || kind == logical.LeftOuter
	if kind == logical.FullOuter || kind == logical.RightOuter {
		clear(left) // a condition above on made-up rows is met below by others too
	}
	if kind == logical.FullOuter || kind == logical.LeftOuter {
		clear(right)
	}
	if kind == logical.Inner && n.Residual != nil {
		lw, both := n.Left.Schema().NumFields(), map[int]bool{}
		for _, c := range expr.Conjuncts(n.Residual) {
			rejects(c, both)
		}
		for i := range both {
			if i < lw {
				left[i] = true
			} else {
				right[i-lw] = true
			}
		}
	}
	for i := range n.LeftKeys {
		if n.NullSafe != nil && n.NullSafe[i] {
			continue
		}
		if leftGoes {
			strictColumns(n.LeftKeys[i], left)
		}
		if rightGoes {
			strictColumns(n.RightKeys[i], right)
		}
	}
}

// rejects adds the columns for whose NULL the condition is not true.
func rejects(e exprT, set map[int]bool) {
	switch e := e.(type) {
	case *expr.Logical:
		if e.Op == expr.And {
			for _, a := range e.Args {
				rejects(a, set)
			}
			return
		}
		var all map[int]bool
		for _, a := range e.Args {
			one := map[int]bool{}
			rejects(a, one)
			if all == nil {
				all = one
				continue
			}
			for i := range all {
				if !one[i] {
					delete(all, i)
				}
			}
		}
		for i := range all {
			set[i] = true
		}
	case *expr.Call:
		if e.Func.Name == "is_not_null" {
			strictColumns(e.Args[0], set)
			return
		}
		strictColumns(e, set)
	case *expr.In, *expr.Column:
		strictColumns(e, set)
	}
}

// strictColumns adds the columns for whose NULL the expression is NULL.
func strictColumns(e exprT, set map[int]bool) {
	switch e := e.(type) {
	case *expr.Column:
		if e.Index >= 0 {
			set[e.Index] = true
		}
	case *expr.Cast:
		strictColumns(e.Arg, set)
	case *expr.In:
		strictColumns(e.Arg, set)
	case *expr.Call:
		if !e.Func.Strict || !expr.Deterministic(e) {
			return
		}
		for _, a := range e.Args {
			strictColumns(a, set)
		}
	}
}
