package sql

import (
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/sql/ast"
)

// Bounds on what a text may expand to. A few lines can mean billions of parts
// (a CTE that joins the one before with itself, thirty times over); without a
// bound each stage behind the binder would hang on such a text.
const (
	maxRelations = 100_000   // tables, views and SELECTs of a statement, expanded
	maxColumns   = 20_000    // columns of one relation
	maxParts     = 1_000_000 // nodes of one expression, shared ones counted each time
	maxJoined    = 128       // tables of one FROM; their order is searched for
)

// budget counts what a statement has expanded to.
type budget struct {
	relations int
	sizes     map[expr.Expr]int // of the expressions bound so far
}

func newBudget() *budget { return &budget{sizes: map[expr.Expr]int{}} }

// relation counts n more relations.
func (b *budget) relation(pos ast.Pos, n int) error {
	if b.relations += n; b.relations > maxRelations {
		return ast.Errorf(pos, "the statement expands to more than %d tables, views and queries", maxRelations)
	}
	return nil
}

// columns checks the width of a relation.
func (b *budget) columns(pos ast.Pos, n int) error {
	if n > maxColumns {
		return ast.Errorf(pos, "more than %d columns", maxColumns)
	}
	return nil
}

// expression checks the size of an expression. Its parts were checked before,
// so that only the new nodes are looked at.
func (b *budget) expression(pos ast.Pos, e expr.Expr) error {
	if b.size(e) > maxParts {
		return ast.Errorf(pos, "the expression expands to more than %d parts", maxParts)
	}
	return nil
}

func (b *budget) size(e expr.Expr) int {
	if n, ok := b.sizes[e]; ok {
		return n
	}
	n := 1
	for _, c := range expr.Children(e) {
		n += b.size(c)
	}
	n = min(n, maxParts+1)
	b.sizes[e] = n
	return n
}

// joined checks how many tables one FROM joins. Subqueries count as one: they
// have a FROM of their own.
func (b *budget) joined(list []ast.Table) error {
	n := 0
	for _, t := range list {
		for { // joins lean to the left, thousands of them too
			n++
			j, ok := t.(*ast.Join)
			if !ok {
				break
			}
			if n > maxJoined {
				return ast.Errorf(j.Pos, "more than %d tables are joined in one FROM", maxJoined)
			}
			t = j.L
		}
	}
	if n > maxJoined {
		return ast.Errorf(list[0].Position(), "more than %d tables are joined in one FROM", maxJoined)
	}
	return nil
}
