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
		at := slices.IndexFunc(n.Exprs, func(e expr.Expr) bool {
			c, is := e.(*expr.Column)
			return is && c.Index == k
		})
		if at < 0 {
			return nil, false
		}
		out = append(out, at)
	}
	return out, true
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
