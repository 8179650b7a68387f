package rules

import (
	"slices"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// NarrowSides drops the columns that a side of a join read for its own condition
// alone. They would be sent to all tasks and lie in the join's table for nothing:
// long texts often, as those that LIKE looks at.
func NarrowSides(n logical.Node) (logical.Node, error) {
	return logical.Transform(n, func(n logical.Node) logical.Node {
		switch n := n.(type) {
		case *logical.Project:
			if j, ok := n.Input.(*logical.Join); ok && j.Kind != logical.LeftSemi && j.Kind != logical.LeftAnti {
				return narrowUnder(n, j)
			}
		case *logical.Join:
			if n.Kind == logical.LeftSemi || n.Kind == logical.LeftAnti {
				lw := n.Left.Schema().NumFields()
				right, at := narrowSide(n.Right, lw, joinReads(n, lw, true))
				if right == n.Right {
					return n
				}
				c := *n
				c.Right, c.RightKeys = right, moveAll(n.RightKeys, at)
				c.Residual = moveRight(n.Residual, lw, at)
				return &c
			}
		}
		return n
	}), nil
}

// narrowUnder narrows the sides of a join of which a projection reads some columns.
func narrowUnder(p *logical.Project, j *logical.Join) logical.Node {
	lw := j.Left.Schema().NumFields()
	above := with(nil, p.Exprs...)
	left, lat := narrowSide(j.Left, 0, append(joinReads(j, lw, false), above...))
	right, rat := narrowSide(j.Right, lw, append(joinReads(j, lw, true), above...))
	if left == j.Left && right == j.Right {
		return p
	}
	at, now := map[int]int{}, left.Schema().NumFields()
	for from, to := range lat {
		at[from] = to
	}
	for from, to := range rat {
		at[from+lw] = to + now
	}
	c := *j
	c.Left, c.Right = left, right
	c.LeftKeys, c.RightKeys = moveAll(j.LeftKeys, lat), moveAll(j.RightKeys, rat)
	if j.Residual != nil {
		c.Residual = move(j.Residual, at)
	}
	return &logical.Project{Input: &c, Exprs: moveAll(p.Exprs, at), Names: p.Names}
}

// joinReads are the columns that a join reads itself: those of its condition over
// both sides and the keys of one, as positions behind both sides' columns.
func joinReads(j *logical.Join, lw int, right bool) []int {
	var out []int
	if j.Residual != nil {
		out = with(nil, j.Residual)
	}
	if !right {
		return append(out, with(nil, j.LeftKeys...)...)
	}
	for _, k := range with(nil, j.RightKeys...) {
		out = append(out, k+lw)
	}
	return out
}

// narrowSide puts a projection over a side that filters, if not all its columns are
// among need, and tells where those of it are then.
func narrowSide(n logical.Node, first int, need []int) (logical.Node, map[int]int) {
	width := n.Schema().NumFields()
	var keep []int
	for i := range width {
		if slices.Contains(need, i+first) {
			keep = append(keep, i)
		}
	}
	if _, ok := n.(*logical.Filter); !ok || len(keep) == width || len(keep) == 0 {
		at := make(map[int]int, width)
		for i := range width {
			at[i] = i
		}
		return n, at
	}
	p, at := &logical.Project{Input: n}, make(map[int]int, len(keep))
	for i, k := range keep {
		c := columnAt(n, k)
		p.Exprs, p.Names = append(p.Exprs, c), append(p.Names, c.Name)
		at[k] = i
	}
	return p, at
}

// moveRight moves the right side's columns of a condition over both sides.
func moveRight(e exprT, lw int, at map[int]int) exprT {
	if e == nil {
		return nil
	}
	return expr.Remap(e, func(i int) int {
		if i < lw {
			return i
		}
		return at[i-lw] + lw
	})
}
