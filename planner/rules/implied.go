package rules

import (
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// ImplyFilters gives the sides of an inner join what an OR above it says of each
// of them: (l.a = 1 AND r.b = 2) OR (l.a = 3 AND r.b = 4) holds only for rows with
// l.a = 1 OR l.a = 3. The OR itself stays where it is.
func ImplyFilters(n logical.Node) (logical.Node, error) {
	return imply(n, nil), nil
}

// imply rewrites n, whose rows must meet the conditions above to count.
func imply(n logical.Node, above []exprT) logical.Node {
	switch n := n.(type) {
	case *logical.Filter:
		return withInput(n, n.Input, imply(n.Input, append(expr.Conjuncts(n.Cond), above...)))
	case *logical.Project:
		var below []exprT
		for _, c := range above {
			if simple(c, n.Exprs) {
				below = append(below, substitute(c, n.Exprs))
			}
		}
		return withInput(n, n.Input, imply(n.Input, below))
	case *logical.Join:
		if isInner(n) || n.Kind == logical.LeftSemi || n.Kind == logical.LeftAnti {
			return implyJoin(n, above)
		}
	}
	in := n.Inputs()
	out, changed := make([]logical.Node, len(in)), false
	for i, c := range in {
		out[i] = imply(c, nil)
		changed = changed || out[i] != c
	}
	if !changed {
		return n
	}
	return n.WithInputs(out)
}

// simple says whether a condition reads nothing but columns that are passed on.
func simple(c exprT, es []exprT) bool {
	set := map[int]bool{}
	expr.Columns(c, set)
	for i := range set {
		if _, ok := es[i].(*expr.Column); !ok {
			return false
		}
	}
	return true
}

func implyJoin(n *logical.Join, above []exprT) logical.Node {
	lw := n.Left.Schema().NumFields()
	total := lw + n.Right.Schema().NumFields()
	conds := above
	if isInner(n) {
		conds = append(append([]exprT{}, above...), expr.Conjuncts(n.Residual)...)
	}
	var left, right []exprT
	for _, c := range conds {
		if e := impliedOn(c, 0, lw); e != nil {
			left = append(left, e)
		}
		if !isInner(n) {
			continue
		}
		if e := impliedOn(c, lw, total); e != nil {
			right = append(right, shift(e, -lw))
		}
	}
	l := imply(filter(n.Left, left), nil)
	r := imply(filter(n.Right, right), nil)
	if l == n.Left && r == n.Right {
		return n
	}
	c := *n
	c.Left, c.Right = l, r
	return &c
}

// impliedOn returns what an OR over columns of several inputs says of those from
// lo to hi alone; nil if that is nothing, or if it reads no others, so that it
// can be pushed down whole.
func impliedOn(e exprT, lo, hi int) exprT {
	or, ok := e.(*expr.Logical)
	if !ok || or.Op != expr.Or || len(or.Args) > maxFactored || !expr.Deterministic(or) {
		return nil
	}
	set := map[int]bool{}
	expr.Columns(or, set)
	if allIn(set, lo, hi) {
		return nil
	}
	branches := make([]exprT, 0, len(or.Args))
	for _, a := range or.Args {
		var own []exprT
		for _, c := range expr.Conjuncts(a) {
			set := map[int]bool{}
			expr.Columns(c, set)
			if len(set) > 0 && allIn(set, lo, hi) {
				own = append(own, c)
			}
		}
		if len(own) == 0 {
			return nil
		}
		branches = append(branches, expr.AndAll(own))
	}
	return asIn(branches)
}

// asIn writes x = 1 OR x = 2 as a list, and drops branches that are there twice.
func asIn(branches []exprT) exprT {
	var kept []exprT
	for _, b := range branches {
		if !inAll(b, [][]exprT{kept}) || len(kept) == 0 {
			kept = append(kept, b)
		}
	}
	if len(kept) == 1 {
		return kept[0]
	}
	var arg exprT
	var list []*expr.Literal
	for _, b := range kept {
		c, ok := b.(*expr.Call)
		if !ok || c.Func.Infix != "=" || len(c.Args) != 2 {
			return &expr.Logical{Op: expr.Or, Args: kept}
		}
		l, ok := c.Args[1].(*expr.Literal)
		if !ok || l.Value == nil || expr.TypeName(l.DT) != expr.TypeName(c.Args[0].Type()) || arg != nil && !expr.Equal(arg, c.Args[0]) {
			return &expr.Logical{Op: expr.Or, Args: kept}
		}
		arg = c.Args[0]
		list = append(list, l)
	}
	return &expr.In{Arg: arg, List: list}
}
