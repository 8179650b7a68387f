package sql

import (
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
)

// where binds WHERE. IN (query) and EXISTS (query) among its conjuncts become
// semi and anti joins; the rest is a Filter below them.
func (sel *selection) where(cond ast.Expr) error {
	conjuncts := []ast.Expr{cond}
	if l, ok := cond.(*ast.Logic); ok && l.Op == "AND" {
		conjuncts = l.Args
	}
	x := &exprBinder{b: sel.b, sc: sel.sc, clause: "WHERE"}
	var plain []ast.Expr
	var joins []func() error
	for _, c := range conjuncts {
		not := false
		in := c
		if u, ok := c.(*ast.Unary); ok && u.Op == "NOT" {
			if _, isExists := u.X.(*ast.Exists); isExists {
				not, in = true, u.X
			}
		}
		switch q := in.(type) {
		case *ast.In:
			if q.Query != nil {
				joins = append(joins, func() error { return x.inQuery(q) })
				continue
			}
		case *ast.Exists:
			joins = append(joins, func() error { return x.exists(q, not) })
			continue
		}
		plain = append(plain, c)
	}
	if len(plain) > 0 {
		var all ast.Expr = plain[0]
		if len(plain) > 1 {
			all = &ast.Logic{Pos: cond.Position(), Op: "AND", Args: plain}
		}
		f, err := x.condition(all)
		if err != nil {
			return err
		}
		sel.sc.node = &logical.Filter{Input: sel.sc.node, Cond: f}
	}
	for _, j := range joins {
		if err := j(); err != nil {
			return err
		}
	}
	return nil
}

// subplan binds a subquery. It sees the tables of the query around it only to
// say that it cannot use them yet.
func (x *exprBinder) subplan(q *ast.Query) (*scope, error) {
	outer := x.b.outer
	x.b.outer = append(outer[:len(outer):len(outer)], x.sc)
	defer func() { x.b.outer = outer }()
	sc, err := x.b.query(q)
	if err != nil {
		return nil, err
	}
	return sc.projected(), nil
}

// inQuery joins x IN (query). NOT IN is an anti join only where neither side
// can be NULL: one NULL in the query makes NOT IN true for no row at all.
func (x *exprBinder) inQuery(e *ast.In) error {
	items := []ast.Expr{e.X}
	if row, ok := e.X.(*ast.Row); ok {
		items = row.Items
	}
	left, err := x.list(items)
	if err != nil {
		return err
	}
	sub, err := x.subplan(e.Query)
	if err != nil {
		return err
	}
	if len(sub.cols) != len(left) {
		return ast.Errorf(e.Query.Pos, "IN compares %d values, but the query returns %d columns", len(left), len(sub.cols))
	}
	j := &logical.Join{Left: x.sc.node, Right: sub.node, Kind: logical.LeftSemi}
	if e.Not {
		j.Kind = logical.LeftAnti
	}
	for i, l := range left {
		r := sub.cols[i].e
		if e.Not && (l.Nullable() || r.Nullable()) {
			return unsupported(e.Pos, "NOT IN (query) with values that can be NULL").
				WithHint("use LEFT ANTI JOIN, in which NULL equals nothing")
		}
		if err := addKey(j, l, r, false); err != nil {
			return ast.Errorf(e.Pos, "IN: %w", err)
		}
	}
	x.sc.node = j
	return nil
}

// exists joins EXISTS (query) that does not depend on the row.
func (x *exprBinder) exists(e *ast.Exists, not bool) error {
	sub, err := x.subplan(e.Query)
	if err != nil {
		return err
	}
	j := &logical.Join{Left: x.sc.node, Right: sub.node, Kind: logical.LeftSemi}
	if not {
		j.Kind = logical.LeftAnti
	}
	x.sc.node = j
	return nil
}

// scalarQuery joins (query) as a value. Only a query that returns exactly one
// row whatever its input, an aggregate without GROUP BY, has a plan yet.
func (x *exprBinder) scalarQuery(e *ast.Subquery) (expr.Expr, error) {
	if !x.canJoin() && x.clause != "WHERE" || x.lambda != nil || x.inAgg {
		return nil, unsupported(e.Pos, "a subquery as a value in "+x.clause)
	}
	sub, err := x.subplan(e.Query)
	if err != nil {
		return nil, err
	}
	if len(sub.cols) != 1 {
		return nil, ast.Errorf(e.Pos, "a subquery as a value returns one column, this one has %d", len(sub.cols))
	}
	if !oneRow(sub.node) {
		return nil, unsupported(e.Pos, "a subquery as a value that is no aggregate without GROUP BY")
	}
	if x.scalars != nil {
		return x.scalars.add(sub.node), nil
	}
	n := x.sc.node.Schema().NumFields()
	x.sc.node = &logical.Join{Left: x.sc.node, Right: sub.node, Kind: logical.Cross}
	c := columnOf(n, x.sc.node.Schema().Field(n))
	x.b.at[c] = e.Pos
	return c, nil
}

// scalarBase is where the positions of scalar subqueries start while a SELECT
// is being bound; those of aggregates come behind.
const scalarBase = 1 << 29

// scalars are the scalar subqueries of a select list, HAVING and ORDER BY. They
// are joined above the Aggregate, if there is one, so that they are neither
// grouped by nor lost where there is no row to group.
type scalars struct{ plans []logical.Node }

func (s *scalars) add(n logical.Node) expr.Expr {
	s.plans = append(s.plans, n)
	return columnOf(scalarBase+len(s.plans)-1, n.Schema().Field(0))
}

// join puts the subqueries behind the columns of a plan and returns where the
// first one is.
func (s *scalars) join(n logical.Node) (logical.Node, int) {
	first := n.Schema().NumFields()
	for _, p := range s.plans {
		n = &logical.Join{Left: n, Right: p, Kind: logical.Cross}
	}
	return n, first
}

// isScalar says whether a column stands for a scalar subquery.
func isScalar(c *expr.Column) bool { return c.Index >= scalarBase && c.Index < aggBase }

// placed moves the stand-ins of scalar subqueries to where they are.
func placed(e expr.Expr, first int) expr.Expr {
	return expr.Remap(e, func(i int) int {
		if i >= scalarBase && i < aggBase {
			return first + i - scalarBase
		}
		return i
	})
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
