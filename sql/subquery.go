package sql

import (
	"strings"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/functions"
)

// frame is a query around the subquery that is being bound. What the subquery
// uses of it becomes a parameter of the Apply that joins the two.
type frame struct {
	sc     *scope
	bind   *exprBinder
	params []logical.Param
	// lateral frames are tables to the left in the same FROM, which only a
	// LATERAL query may use.
	lateral bool
}

// param finds a column of a query around and returns the parameter for it; nil
// if there is none of that name. The nearest query counts.
func (b *binder) param(e *ast.Column) (expr.Expr, int, error) {
	for i := len(b.outer) - 1; i >= 0; i-- {
		f := b.outer[i]
		if f.lateral {
			continue
		}
		if m := f.bind.macro; m != nil { // what is around a call, its body does not see
			v, used := m.lookup(e.Parts)
			if v == nil {
				return nil, 0, nil
			}
			return b.paramFor(f, v, e.Parts[used-1].Name), used, nil
		}
		col, used, err := f.sc.lookup(e.Parts)
		if err != nil {
			return nil, 0, err
		}
		if col < 0 {
			continue
		}
		return b.paramOf(f, e.Pos, col, e.Parts[len(e.Parts)-1].Name), used, nil
	}
	return nil, 0, nil
}

// paramOf is the parameter for column col of a query around.
func (b *binder) paramOf(f *frame, pos ast.Pos, col int, name string) expr.Expr {
	return b.paramFor(f, f.bind.reference(pos, col), name)
}

// paramFor is the parameter for a value of a query around.
func (b *binder) paramFor(f *frame, v expr.Expr, name string) expr.Expr {
	for _, p := range f.params {
		if same(p.Expr, v) {
			return paramColumn(p, name)
		}
	}
	b.correlations++
	p := logical.Param{ID: b.correlations, Expr: v}
	f.params = append(f.params, p)
	return paramColumn(p, name)
}

func paramColumn(p logical.Param, name string) expr.Expr {
	return &expr.Column{Index: -p.ID, Name: name, DT: p.Expr.Type(), Null: p.Expr.Nullable()}
}

// subplan binds a subquery, which sees the tables of the query around it.
func (x *exprBinder) subplan(q *ast.Query) (*scope, []logical.Param, error) {
	f := &frame{sc: x.sc, bind: x}
	outer := x.b.outer
	x.b.outer = append(outer[:len(outer):len(outer)], f)
	defer func() { x.b.outer = outer }()
	sc, err := x.b.query(q)
	if err != nil {
		return nil, nil, err
	}
	return sc.projected(), f.params, nil
}

// hasSubquery says whether an expression has a subquery in it.
func hasSubquery(e ast.Expr) bool {
	found := false
	if e == nil {
		return false
	}
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Subquery, *ast.Exists, *ast.Quantified:
			found = true
		case *ast.In:
			found = found || n.Query != nil
		}
		return !found
	})
	return found
}

// conjuncts splits a condition at its ANDs, however deep.
func conjuncts(e ast.Expr) []ast.Expr {
	l, ok := e.(*ast.Logic)
	if !ok || l.Op != "AND" {
		return []ast.Expr{e}
	}
	var out []ast.Expr
	for _, a := range l.Args {
		out = append(out, conjuncts(a)...)
	}
	return out
}

// where binds WHERE. What has no subquery is a Filter below; IN (query) and
// EXISTS (query) among the conjuncts become semi and anti joins, any other
// subquery is joined and its condition filtered above.
func (sel *selection) where(cond ast.Expr) error {
	x := &exprBinder{b: sel.b, sc: sel.sc, clause: "WHERE"}
	return x.filter(cond)
}

// filter puts a condition above the plan of the scope.
func (x *exprBinder) filter(cond ast.Expr) error {
	var plain, subs []ast.Expr
	for _, c := range conjuncts(cond) {
		if hasSubquery(c) {
			subs = append(subs, c)
		} else {
			plain = append(plain, c)
		}
	}
	if len(plain) > 0 {
		all := plain[0]
		if len(plain) > 1 {
			all = &ast.Logic{Pos: cond.Position(), Op: "AND", Args: plain}
		}
		if err := x.keep(all); err != nil {
			return err
		}
	}
	for _, c := range subs {
		done, err := x.semi(c, false)
		if err == nil && !done {
			err = x.keep(c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// keep filters by one condition. What its subqueries add to the plan is not
// among the scope's columns and so goes no further than the next projection.
func (x *exprBinder) keep(cond ast.Expr) error {
	f, err := x.condition(cond)
	if err == nil {
		x.sc.node = &logical.Filter{Input: x.sc.node, Cond: f}
	}
	return err
}

// semi makes a semi or anti join of a condition that is IN (query) or EXISTS
// (query), perhaps negated. done is false for any other condition, and for NOT
// IN where a NULL may make it unknown.
func (x *exprBinder) semi(c ast.Expr, not bool) (done bool, err error) {
	switch c := c.(type) {
	case *ast.Unary:
		if c.Op != "NOT" {
			return false, nil
		}
		return x.semi(c.X, !not)
	case *ast.Exists:
		sub, params, err := x.subplan(c.Query)
		if err == nil {
			x.semiJoin(sub.node, params, not, nil)
		}
		return true, err
	case *ast.Quantified:
		if c.Op == "=" && c.Quantifier != "ALL" {
			return x.semi(&ast.In{Pos: c.Pos, X: c.L, Query: c.Query}, not)
		}
	case *ast.In:
		if c.Query == nil {
			return false, nil
		}
		return x.inSemi(c, c.Not != not)
	}
	return false, nil
}

func (x *exprBinder) semiJoin(sub logical.Node, params []logical.Param, not bool, keys [][2]expr.Expr) {
	kind := logical.LeftSemi
	if not {
		kind = logical.LeftAnti
	}
	n := x.sc.node.Schema().NumFields()
	var on []expr.Expr
	for _, k := range keys {
		e, err := functions.Scalar("=", []expr.Expr{k[0], moved(k[1], n, false)})
		if err == nil { // the types were compared when the keys were made
			on = append(on, e)
		}
	}
	if len(params) > 0 {
		x.sc.node = &logical.Apply{Left: x.sc.node, Right: sub, Kind: kind, Params: params, On: expr.AndAll(on)}
		return
	}
	j := &logical.Join{Left: x.sc.node, Right: sub, Kind: kind}
	for _, k := range keys {
		j.LeftKeys, j.RightKeys = append(j.LeftKeys, k[0]), append(j.RightKeys, k[1])
	}
	x.sc.node = j
}

// inSemi joins x IN (query). NOT IN is an anti join only where neither side
// can be NULL: one NULL in the query makes NOT IN true for no row at all.
func (x *exprBinder) inSemi(e *ast.In, not bool) (bool, error) {
	if hasSubquery(e.X) {
		return false, nil
	}
	keys, sub, params, err := x.inKeys(e.Pos, e.X, e.Query)
	if err != nil {
		return true, err
	}
	if not {
		for _, k := range keys {
			if k[0].Nullable() || k[1].Nullable() {
				return false, nil
			}
		}
	}
	x.semiJoin(sub.node, params, not, keys)
	return true, nil
}

// inKeys binds both sides of IN to pairs of one type: values of the row and
// columns of the subquery.
func (x *exprBinder) inKeys(pos ast.Pos, e ast.Expr, q *ast.Query) ([][2]expr.Expr, *scope, []logical.Param, error) {
	items := []ast.Expr{e}
	switch e := e.(type) {
	case *ast.Row:
		items = e.Items
	case *ast.Call:
		if n := strings.ToLower(e.Name.String()); (n == "row" || n == "struct") && len(e.Args) > 1 {
			items = e.Args
		}
	}
	sub, params, err := x.subplan(q)
	if err != nil {
		return nil, nil, nil, err
	}
	if len(sub.cols) == 1 {
		items = []ast.Expr{e} // a STRUCT is compared whole
	}
	left, err := x.list(items)
	if err != nil {
		return nil, nil, nil, err
	}
	if len(sub.cols) != len(left) {
		return nil, nil, nil, ast.Errorf(q.Pos, "IN compares %d values, but the query returns %d columns", len(left), len(sub.cols))
	}
	keys := make([][2]expr.Expr, len(left))
	for i, l := range left {
		both, _, err := functions.Coerce("join key", []expr.Expr{l, sub.cols[i].e})
		if err != nil {
			return nil, nil, nil, ast.Errorf(pos, "IN: %w", err)
		}
		keys[i] = [2]expr.Expr{both[0], both[1]}
	}
	return keys, sub, params, nil
}

// oneRow says whether a plan returns one row for any input.
func oneRow(n logical.Node) bool {
	switch n := n.(type) {
	case *logical.Aggregate:
		return len(n.Keys) == 0
	case *logical.Project:
		return oneRow(n.Input)
	case *logical.Values:
		return len(n.Rows) == 1
	}
	return false
}
