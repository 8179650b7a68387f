package sql

import (
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
)

// besides binds a table of FROM that stands behind others: a LATERAL query in
// it sees their columns. What it uses of them comes back as parameters.
func (b *binder) besides(left *scope, t ast.Table) (*scope, []logical.Param, error) {
	f := &frame{sc: left, bind: &exprBinder{b: b, sc: left, clause: "LATERAL"}, lateral: true}
	outer := b.outer
	b.outer = append(outer[:len(outer):len(outer)], f)
	defer func() { b.outer = outer }()
	sc, err := b.table(t)
	return sc, f.params, err
}

// derived binds a query in FROM. Without LATERAL the tables beside it are hidden.
func (b *binder) derived(t *ast.Derived) (*scope, error) {
	outer := b.outer
	defer func() { b.outer = outer }()
	var opened []*frame
	for i := len(b.outer) - 1; i >= 0 && b.outer[i].lateral; i-- {
		if t.Lateral {
			b.outer[i].lateral = false
			opened = append(opened, b.outer[i])
		} else {
			b.outer = b.outer[:i:i]
		}
	}
	sc, err := b.query(t.Query)
	for _, f := range opened {
		f.lateral = true
	}
	if err != nil {
		return nil, err
	}
	return sc.renamed("", nil, t.Pos)
}

// sideBySide joins a table of FROM to those before it.
func sideBySide(l, r *scope, params []logical.Param) *scope {
	if len(params) == 0 {
		return joined(l, r, &logical.Join{Left: l.node, Right: r.node, Kind: logical.Cross})
	}
	sc := joined(l, r, &logical.Join{Left: l.node, Right: r.node, Kind: logical.Inner})
	sc.node = &logical.Apply{Left: l.node, Right: r.node, Kind: logical.Inner, Params: params}
	return sc
}

// lateralJoin joins a query that uses columns of the table on its left.
func (b *binder) lateralJoin(t *ast.Join, l, r *scope, params []logical.Param) (*scope, error) {
	kind := joinKinds[t.Kind]
	switch {
	case kind == logical.RightOuter || kind == logical.FullOuter:
		return nil, ast.Errorf(t.Pos, "a LATERAL query that uses the left table cannot stand on the right of a RIGHT or FULL join")
	case t.Using != nil || t.Natural:
		return nil, unsupported(t.Pos, "USING with a LATERAL query that uses the left table")
	case kind == logical.Cross:
		kind = logical.Inner
	}
	both := joined(l, r, &logical.Join{Left: l.node, Right: r.node, Kind: logical.Inner})
	a := &logical.Apply{Left: l.node, Right: r.node, Kind: kind, Params: params}
	if t.On != nil {
		x := &exprBinder{b: b, sc: both, clause: "a LATERAL join's ON"}
		cond, err := x.condition(t.On)
		if err != nil {
			return nil, err
		}
		a.On = trueOrNil(cond)
	}
	sc := joined(l, r, &logical.Join{Left: l.node, Right: r.node, Kind: kind})
	sc.node = a
	return sc, nil
}

func trueOrNil(e expr.Expr) expr.Expr {
	if l, ok := e.(*expr.Literal); ok && l.Value == true {
		return nil
	}
	return e
}

// generatorJoin joins a generator such as UNNEST to the table whose arrays it
// may read.
func (b *binder) generatorJoin(t *ast.Join, l *scope, f *ast.TableFunc, table string, names []ast.Ident) (*scope, error) {
	always := t.On == nil
	if lit, ok := t.On.(*ast.Literal); ok && lit.Kind == ast.LitBool {
		always = lit.Text == "true" || lit.Text == "TRUE"
	}
	switch {
	case t.Using != nil || t.Natural || t.Kind != ast.InnerJoin && t.Kind != ast.CrossJoin && t.Kind != ast.LeftJoin:
		return nil, unsupported(t.Pos, "a join with "+f.Call.Name.String()+" other than INNER, CROSS and LEFT .. ON TRUE")
	case t.Kind == ast.LeftJoin && !always:
		return b.generatorLeft(t, l, f, table, names)
	}
	if err := b.generatorFrom(l, f, table, names, t.Kind == ast.LeftJoin); err != nil {
		return nil, err
	}
	if !always {
		x := &exprBinder{b: b, sc: l, clause: "ON"}
		if err := x.filter(t.On); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// generatorLeft joins a generator by a condition: a row of the left side of which
// no element meets it stays, so that the generator becomes a query of its own.
func (b *binder) generatorLeft(t *ast.Join, l *scope, f *ast.TableFunc, table string, names []ast.Ident) (*scope, error) {
	inner := *f
	star := ast.SelectItem{Expr: &ast.Star{Pos: f.Pos}}
	d := &ast.Derived{Pos: f.Pos, Lateral: true, Query: &ast.Query{Pos: f.Pos, Body: &ast.Select{Pos: f.Pos, Items: []ast.SelectItem{star}, From: []ast.Table{&inner}}}}
	r, params, err := b.besides(l, d)
	if err != nil {
		return nil, err
	}
	if r, err = r.renamed(table, names, f.Pos); err != nil {
		return nil, err
	}
	return b.lateralJoin(t, l, r, params)
}

// onSubqueries binds an ON with subqueries in it. For an inner join they are
// conditions above it; for an outer one each is joined to the side that it
// depends on.
func (b *binder) onSubqueries(t *ast.Join, l, r *scope, j *logical.Join) (*scope, error) {
	if j.Kind == logical.Inner {
		sc := joined(l, r, &logical.Join{Left: l.node, Right: r.node, Kind: logical.Cross})
		x := &exprBinder{b: b, sc: sc, clause: "ON"}
		return sc, x.filter(t.On)
	}
	n := l.node.Schema().NumFields()
	both := joined(l, r, &logical.Join{Left: l.node, Right: r.node, Kind: logical.Inner})
	subs := &scalars{}
	x := &exprBinder{b: b, sc: both, clause: "ON", scalars: subs}
	cond, err := x.condition(t.On)
	if err != nil {
		return nil, err
	}
	at := map[int]int{} // stand-ins to where they are: on the left, or behind both sides
	place := func(e expr.Expr, extra int) expr.Expr {
		return expr.Remap(e, func(i int) int {
			switch to, ok := at[i]; {
			case ok && to >= 0:
				return to
			case ok:
				return n + extra + -to - 1
			case i >= n && i < scalarBase:
				return i + extra
			}
			return i
		})
	}
	next := scalarBase
	extra := 0
	for _, s := range subs.subs {
		side := 0
		for i, p := range s.params {
			s.params[i].Expr = place(p.Expr, extra)
			side |= sideOf(s.params[i].Expr, n+extra)
		}
		width := s.node.Schema().NumFields()
		switch side {
		case 3:
			return nil, unsupported(t.On.Position(), "a subquery in the ON of an outer join that depends on both sides")
		case 1:
			at[next] = n + extra
			j.Left = joinScalar(j.Left, s)
			extra += width
		default:
			for i, p := range s.params {
				s.params[i].Expr = expr.Remap(p.Expr, func(i int) int { return i - n - extra })
			}
			at[next] = -j.Right.Schema().NumFields() - 1
			j.Right = joinScalar(j.Right, s)
		}
		for w := 1; w < width; w++ {
			at[next+w] = at[next] + w
			if at[next] < 0 {
				at[next+w] = at[next] - w
			}
		}
		next += width
	}
	if err := splitCondition(j, place(cond, extra)); err != nil {
		return nil, ast.Errorf(t.On.Position(), "%w", err)
	}
	return joined(l, r, j), nil
}
