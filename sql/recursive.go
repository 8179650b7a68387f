package sql

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
)

// recursiveCTE binds a query that reads itself: UNION [ALL] of a first part that
// does not, and a second part that does. The columns have the first part's
// types and names.
func (b *binder) recursiveCTE(c ast.CTE) (*scope, error) {
	q := c.Query
	outer := b.ctes
	defer func() { b.ctes = outer }()
	if q.With != nil {
		if err := b.with(q.With); err != nil {
			return nil, err
		}
	}
	set, ok := q.Body.(*ast.SetOp)
	switch {
	case !ok || set.Op != "UNION" || reads(set.L, c.Name.Name):
		return nil, ast.Errorf(c.Pos, "the recursive query %q must be a part that does not read it, UNION [ALL], and a part that does", c.Name.Name)
	case q.OrderBy != nil:
		return nil, ast.Errorf(q.OrderBy[0].Expr.Position(), "a recursive query has no order").WithHint("sort where it is read")
	}
	seed, err := b.body(set.L)
	if err != nil {
		return nil, err
	}
	if seed, err = seed.projected().renamed(c.Name.Name, c.Columns, c.Pos); err != nil {
		return nil, err
	}
	seed = seed.projected()
	b.correlations++
	r := &logical.Recursive{Seed: seed.node, ID: b.correlations, All: set.All, Name: c.Name.Name}
	if c.MaxLevel != nil {
		n, err := b.count(c.MaxLevel, "MAX RECURSION LEVEL")
		if err != nil {
			return nil, err
		}
		r.Max = int(min(n, 1<<30))
	}
	work := &logical.WorkTable{ID: r.ID, Name: r.Name, Out: r.Schema()}
	b.ctes = &cteScope{name: c.Name.Name, rel: newScope(work, c.Name.Name), size: 1, outer: b.ctes}
	step, err := b.body(set.R)
	if err != nil {
		return nil, err
	}
	if r.Step, err = likeSeed(set, step.projected(), work.Out); err != nil {
		return nil, err
	}
	sc := newScope(r, c.Name.Name)
	return sc, b.limit(sc, q)
}

// likeSeed casts the second part's columns to the types of the first part's.
func likeSeed(set *ast.SetOp, step *scope, out *arrow.Schema) (logical.Node, error) {
	if len(step.cols) != out.NumFields() {
		return nil, ast.Errorf(set.R.Position(), "the sides of UNION have %d and %d columns", out.NumFields(), len(step.cols))
	}
	es, names := make([]expr.Expr, len(step.cols)), make([]string, len(step.cols))
	for i, f := range out.Fields() {
		e, err := cast(set.R.Position(), step.cols[i].e, f.Type, false)
		if err != nil {
			return nil, err
		}
		es[i], names[i] = e, f.Name
	}
	return project(step.node, es, names), nil
}

// reads says whether a part of a query reads a table of this name.
func reads(q ast.QueryBody, name string) bool {
	return refersTo(&ast.Query{Body: q}, name)
}
