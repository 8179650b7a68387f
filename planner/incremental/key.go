package incremental

import (
	"slices"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// Key returns columns of n whose values tell its rows apart, none of them for a
// result of a single row. ok is false if no such columns are known.
func Key(n logical.Node) (key []int, ok bool) {
	switch n := n.(type) {
	case *logical.Aggregate:
		return upTo(len(n.Keys)), true
	case *logical.Distinct:
		return upTo(n.Schema().NumFields()), true
	case *logical.Project:
		return projectKey(n)
	case *logical.Filter, *logical.Sort, *logical.Limit, *logical.Analytic, *logical.Watermark:
		return Key(n.Inputs()[0])
	case *logical.Process:
		return processKey(n)
	case *logical.Scan:
		return scanKey(n)
	case *logical.Latest:
		return n.Keys, true
	case *logical.LimitBy:
		return limitByKey(n)
	case *logical.Join:
		return joinKey(n)
	default:
		return nil, false
	}
}

func upTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// scanKey takes the declared key of a table whose rows replace each other. Of a table
// that only grows nothing says that its rows keep to one.
func scanKey(n *logical.Scan) ([]int, bool) {
	if n.Table.Changes == batch.OnlyGrows || len(n.Table.Keys) == 0 {
		return nil, false
	}
	if n.Columns == nil {
		return n.Table.Keys, true
	}
	out := make([]int, len(n.Table.Keys))
	for i, k := range n.Table.Keys {
		if out[i] = slices.Index(n.Columns, k); out[i] < 0 {
			return nil, false
		}
	}
	return out, true
}

// processKey takes the keys and what tells the rows of one key apart, where a
// processor replaces its rows by them.
func processKey(n *logical.Process) ([]int, bool) {
	switch {
	case n.Def.Single:
		return upTo(len(n.Keys)), true
	case !n.Def.Update || n.Output > 0:
		return nil, false
	}
	out := upTo(len(n.Keys))
	for _, c := range n.Def.UpdateBy {
		out = append(out, len(n.Keys)+c)
	}
	return out, true
}

// projectKey finds the input's key among the columns passed on.
func projectKey(n *logical.Project) ([]int, bool) {
	in, ok := Key(n.Input)
	if !ok {
		return nil, false
	}
	out := make([]int, 0, len(in))
	for _, k := range in {
		at := slices.IndexFunc(n.Exprs, func(e expr.Expr) bool { return holds(e, k) })
		if at < 0 && slices.ContainsFunc(in, func(other int) bool { return other != k && sameWindow(n.Input, k, other) && arrives(n.Exprs, other) }) {
			continue // one end of a window tells the other
		}
		if at < 0 {
			return nil, false
		}
		if !slices.Contains(out, at) {
			out = append(out, at)
		}
	}
	return out, true
}

func arrives(es []expr.Expr, col int) bool {
	return slices.ContainsFunc(es, func(e expr.Expr) bool { return holds(e, col) })
}

// holds says whether an expression is a column, or a structure with it in it.
func holds(e expr.Expr, col int) bool {
	switch e := e.(type) {
	case *expr.Column:
		return e.Index == col
	case *expr.Call:
		return e.Func.Name == "named_struct" && slices.ContainsFunc(e.Args, func(a expr.Expr) bool { return holds(a, col) })
	}
	return false
}

// sameWindow says whether two columns are start and end of the same windows of one size.
func sameWindow(n logical.Node, a, b int) bool {
	switch n := n.(type) {
	case *logical.Aggregate:
		if a >= len(n.Keys) || b >= len(n.Keys) {
			return false
		}
		ca, ok := n.Keys[a].(*expr.Column)
		cb, ok2 := n.Keys[b].(*expr.Column)
		return ok && ok2 && sameWindow(n.Input, ca.Index, cb.Index)
	case *logical.Project:
		ca, ok := n.Exprs[a].(*expr.Column)
		cb, ok2 := n.Exprs[b].(*expr.Column)
		return ok && ok2 && sameWindow(n.Input, ca.Index, cb.Index)
	case *logical.Filter:
		return sameWindow(n.Input, a, b)
	case *logical.Window:
		width := n.Input.Schema().NumFields()
		if a < width && b < width {
			return sameWindow(n.Input, a, b)
		}
		return a >= width && b >= width && (n.Kind == logical.Tumble || n.Kind == logical.Hop)
	}
	return false
}

// limitByKey takes the columns that a single row is kept of.
func limitByKey(n *logical.LimitBy) ([]int, bool) {
	if n.Count != 1 {
		return Key(n.Input)
	}
	out := make([]int, 0, len(n.By))
	for _, e := range n.By {
		c, ok := e.(*expr.Column)
		if !ok {
			return Key(n.Input)
		}
		out = append(out, c.Index)
	}
	return out, true
}

// joinKey takes both sides' keys, or one side's where the other has at most one
// row for each of its rows.
func joinKey(n *logical.Join) ([]int, bool) {
	left, lok := Key(n.Left)
	if n.Kind == logical.LeftSemi || n.Kind == logical.LeftAnti {
		return left, lok
	}
	right, rok := Key(n.Right)
	width := n.Left.Schema().NumFields()
	shifted := make([]int, len(right))
	for i, k := range right {
		shifted[i] = k + width
	}
	if lok && rok && covers(n.RightKeys, right) && (n.Kind == logical.Inner || n.Kind == logical.LeftOuter) {
		return left, true
	}
	if lok && rok && covers(n.LeftKeys, left) && (n.Kind == logical.Inner || n.Kind == logical.RightOuter) {
		return shifted, true
	}
	return append(slices.Clone(left), shifted...), lok && rok
}

// covers reports whether the expressions have every column of a key among them.
func covers(es []expr.Expr, key []int) bool {
	for _, k := range key {
		if !slices.ContainsFunc(es, func(e expr.Expr) bool {
			c, ok := e.(*expr.Column)
			return ok && c.Index == k
		}) {
			return false
		}
	}
	return true
}
