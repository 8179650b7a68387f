package sql

import (
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
)

// distinctOn binds DISTINCT ON (..), as ORDER BY is bound: over what comes out.
func (sel *selection) distinctOn() error {
	if sel.s.DistinctOn == nil {
		return nil
	}
	items := make([]ast.OrderItem, len(sel.s.DistinctOn))
	for i, e := range sel.s.DistinctOn {
		items[i].Expr = e
	}
	by, err := sel.order(items, "DISTINCT ON")
	for _, k := range by {
		sel.on = append(sel.on, k.Expr)
	}
	return err
}

// firstRows numbers the rows that are alike by DISTINCT ON in the order of the query,
// behind its window functions and QUALIFY, and leaves the first ones.
func (sel *selection) firstRows(in logical.Node, keys []expr.SortKey) (logical.Node, error) {
	u := &analyticUse{call: &expr.AnalyticCall{Kind: expr.RowNumber, N: 1, Name: "row_number", DT: expr.TypeInt32}}
	for _, e := range sel.on {
		u.part = append(u.part, flat(sel.wins.placed(e))...)
	}
	for _, k := range keys {
		for _, e := range flat(k.Expr) {
			u.order = append(u.order, expr.SortKey{Expr: e, Desc: k.Desc, NullsFirst: k.NullsFirst})
		}
	}
	if u.order == nil {
		u.order = []expr.SortKey{{Expr: &expr.Literal{Value: int64(1), DT: expr.TypeInt32}, NullsFirst: true}}
	}
	first, err := newAnalytics(nil)
	if err != nil {
		return nil, err
	}
	row := first.add(u)
	node := first.plan(in)
	x := &exprBinder{b: sel.b, sc: &scope{node: node}, clause: "DISTINCT ON"}
	cond, err := x.apply(sel.s.DistinctOn[0].Position(), "=", first.placed(row), &expr.Literal{Value: int64(1), DT: expr.TypeInt32})
	if err != nil {
		return nil, err
	}
	return &logical.Filter{Input: node, Cond: cond}, nil
}

// flat takes a window apart into its start and end.
func flat(e expr.Expr) []expr.Expr {
	if start, end, ok := windowColumns(e); ok {
		return []expr.Expr{start, end}
	}
	return []expr.Expr{e}
}
