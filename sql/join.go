package sql

import (
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/functions"
)

// joined puts the names of two tables side by side over a join of their plans.
// Columns of a side that an outer join may fill with NULL become nullable.
func joined(l, r *scope, j *logical.Join) *scope {
	n := j.Left.Schema().NumFields()
	out := &scope{node: j}
	leftNull := j.Kind == logical.RightOuter || j.Kind == logical.FullOuter
	rightNull := j.Kind == logical.LeftOuter || j.Kind == logical.FullOuter
	for _, c := range l.cols {
		c.e = moved(c.e, 0, leftNull)
		out.cols = append(out.cols, c)
	}
	if j.Kind == logical.LeftSemi || j.Kind == logical.LeftAnti {
		return out
	}
	for _, c := range r.cols {
		c.e = moved(c.e, n, rightNull)
		out.cols = append(out.cols, c)
	}
	return out
}

// moved shifts the columns of an expression, and makes them nullable.
func moved(e expr.Expr, by int, null bool) expr.Expr {
	if by == 0 && !null {
		return e
	}
	return expr.Transform(e, func(x expr.Expr) expr.Expr {
		c, ok := x.(*expr.Column)
		if !ok {
			return x
		}
		d := *c
		if d.Index >= 0 { // a parameter stays what it is
			d.Index += by
		}
		d.Null = d.Null || null
		return &d
	})
}

var joinKinds = map[ast.JoinKind]logical.JoinKind{
	ast.InnerJoin: logical.Inner, ast.LeftJoin: logical.LeftOuter, ast.RightJoin: logical.RightOuter,
	ast.FullJoin: logical.FullOuter, ast.CrossJoin: logical.Cross, ast.SemiJoin: logical.LeftSemi,
	ast.AntiJoin: logical.LeftAnti,
}

// join binds a join of two tables.
func (b *binder) join(t *ast.Join) (*scope, error) {
	l, err := b.table(t.L)
	if err != nil {
		return nil, err
	}
	if f, table, names := generatorTable(t.R); f != nil {
		return b.generatorJoin(t, l, f, table, names)
	}
	if of, table := asOfTable(t.R); of != nil {
		return b.temporalJoin(t, l, of, table)
	}
	r, params, err := b.besides(l, t.R)
	if err != nil {
		return nil, err
	}
	if len(params) > 0 {
		return b.lateralJoin(t, l, r, params)
	}
	if err := b.budget.columns(t.Pos, len(l.cols)+len(r.cols)); err != nil {
		return nil, err
	}
	if t.Asof || t.Match != nil {
		return b.asofJoin(t, l, r)
	}
	using := t.Using
	if t.Natural {
		using = common(l, r, t.Pos)
	}
	j := &logical.Join{Left: l.node, Right: r.node, Kind: joinKinds[t.Kind]}
	if using != nil {
		return b.joinUsing(l, r, j, using)
	}
	if t.On == nil {
		if j.Kind == logical.Inner {
			j.Kind = logical.Cross
		}
		return joined(l, r, j), nil
	}
	if hasSubquery(t.On) {
		return b.onSubqueries(t, l, r, j)
	}
	both := joined(l, r, &logical.Join{Left: l.node, Right: r.node, Kind: logical.Inner})
	x := &exprBinder{b: b, sc: both, clause: "ON"}
	cond, err := x.condition(t.On)
	if err != nil {
		return nil, err
	}
	if err := splitCondition(j, cond); err != nil {
		return nil, ast.Errorf(t.On.Position(), "%w", err)
	}
	return joined(l, r, j), nil
}

// common lists the names that both sides have, in the left side's order.
func common(l, r *scope, pos ast.Pos) []ast.Ident {
	var out []ast.Ident
	for _, c := range l.star(nil) {
		for _, i := range r.named(c.name) {
			if !r.cols[i].hidden && !r.cols[i].starless {
				out = append(out, ast.Ident{Pos: pos, Name: c.name})
				break
			}
		}
	}
	return out
}

// splitCondition takes the equalities between the two sides out as keys and
// leaves the rest as the residual condition.
func splitCondition(j *logical.Join, cond expr.Expr) error {
	n := j.Left.Schema().NumFields()
	var rest []expr.Expr
	var conjuncts []expr.Expr
	for _, c := range expr.Conjuncts(cond) {
		both, err := windowEquality(c)
		if err != nil {
			return err
		}
		conjuncts = append(conjuncts, both...)
	}
	for _, c := range conjuncts {
		if lit, ok := c.(*expr.Literal); ok && lit.Value == true {
			continue
		}
		l, r, nullSafe, ok := equality(c, n)
		if !ok {
			rest = append(rest, c)
			continue
		}
		if err := addKey(j, l, expr.Remap(r, func(i int) int { return i - n }), nullSafe); err != nil {
			return err
		}
	}
	j.Residual = expr.AndAll(rest)
	return nil
}

// windowEquality takes a.window = b.window apart into its start and end, which
// are what a join over windows is recognised by.
func windowEquality(e expr.Expr) ([]expr.Expr, error) {
	c, ok := e.(*expr.Call)
	if !ok || len(c.Args) != 2 || c.Func.Infix != "=" {
		return []expr.Expr{e}, nil
	}
	s1, e1, ok1 := windowColumns(c.Args[0])
	s2, e2, ok2 := windowColumns(c.Args[1])
	if !ok1 || !ok2 {
		return []expr.Expr{e}, nil
	}
	start, err := functions.Scalar("=", []expr.Expr{s1, s2})
	if err != nil {
		return nil, err
	}
	end, err := functions.Scalar("=", []expr.Expr{e1, e2})
	return []expr.Expr{start, end}, err
}

// addKey appends one pair of keys, cast to one type.
func addKey(j *logical.Join, l, r expr.Expr, nullSafe bool) error {
	both, _, err := functions.Coerce("join key", []expr.Expr{l, r})
	if err != nil {
		return err
	}
	j.LeftKeys = append(j.LeftKeys, both[0])
	j.RightKeys = append(j.RightKeys, both[1])
	if nullSafe && j.NullSafe == nil {
		j.NullSafe = make([]bool, len(j.LeftKeys)-1)
	}
	if j.NullSafe != nil {
		j.NullSafe = append(j.NullSafe, nullSafe)
	}
	return nil
}

// equality recognises left = right or left <=> right across a join whose left
// side has n columns.
func equality(e expr.Expr, n int) (l, r expr.Expr, nullSafe, ok bool) {
	c, is := e.(*expr.Call)
	if !is || len(c.Args) != 2 || c.Func.Infix != "=" && c.Func.Infix != "<=>" || !expr.Deterministic(e) {
		return nil, nil, false, false
	}
	l, r = c.Args[0], c.Args[1]
	switch ls, rs := sideOf(l, n), sideOf(r, n); {
	case ls == 1 && rs == 2:
	case ls == 2 && rs == 1:
		l, r = r, l
	default:
		return nil, nil, false, false
	}
	return l, r, c.Func.Infix == "<=>", true
}

// sideOf is 1 if e reads the left side only, 2 for the right, 3 for both, 0
// for neither.
func sideOf(e expr.Expr, n int) int {
	set := map[int]bool{}
	expr.Columns(e, set)
	side := 0
	for i := range set {
		switch {
		case i < 0: // a parameter belongs to a query around
			return 3
		case i < n:
			side |= 1
		default:
			side |= 2
		}
	}
	return side
}

// joinUsing joins on columns of equal names. The result has each key once, in
// front; with their table before them both sides stay reachable.
func (b *binder) joinUsing(l, r *scope, j *logical.Join, using []ast.Ident) (*scope, error) {
	n := j.Left.Schema().NumFields()
	var lk, rk []int
	for _, id := range using {
		li, err := usingColumn(l, id, "left")
		if err != nil {
			return nil, err
		}
		ri, err := usingColumn(r, id, "right")
		if err != nil {
			return nil, err
		}
		if err := addKey(j, l.cols[li].e, r.cols[ri].e, false); err != nil {
			return nil, ast.Errorf(id.Pos, "USING (%s): %w", id.Name, err)
		}
		lk, rk = append(lk, li), append(rk, ri)
	}
	sc := joined(l, r, j)
	if j.Kind == logical.LeftSemi || j.Kind == logical.LeftAnti {
		return sc, nil
	}
	front := make([]scopeCol, len(using))
	for k, id := range using {
		left, right := &sc.cols[lk[k]], &sc.cols[len(l.cols)+rk[k]]
		front[k] = scopeCol{name: id.Name, e: left.e}
		switch j.Kind {
		case logical.RightOuter:
			front[k].e = right.e
		case logical.FullOuter:
			e, err := functions.Scalar("coalesce", []expr.Expr{
				moved(j.LeftKeys[len(j.LeftKeys)-len(using)+k], 0, true),
				moved(j.RightKeys[len(j.RightKeys)-len(using)+k], n, true),
			})
			if err != nil {
				return nil, ast.Errorf(id.Pos, "USING (%s): %w", id.Name, err)
			}
			front[k].e = e
		default: // the left side's value stands for both
		}
		left.hidden, right.hidden = true, true
	}
	sc.cols = append(front, sc.cols...)
	sc.byName = nil
	return sc, nil
}

func usingColumn(sc *scope, id ast.Ident, side string) (int, error) {
	i, _, err := sc.lookup([]ast.Ident{id})
	if err != nil {
		return 0, err
	}
	if i < 0 {
		e := ast.Errorf(id.Pos, "the %s side of the join has no column %q", side, id.Name)
		if near := ast.Nearest(id.Name, sc.names(nil)); near != "" {
			e = e.WithHint("did you mean %q?", near)
		}
		return 0, e
	}
	return i, nil
}
