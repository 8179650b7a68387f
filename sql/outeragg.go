package sql

import (
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/sql/ast"
)

// outerAggregate binds an aggregate in the WHERE or ON of a subquery, where none of
// its own can stand, as one of the query around: HAVING EXISTS (SELECT 1 FROM bonus
// WHERE bonus.amount < min(emp.salary)). ok is false if it is none.
func (x *exprBinder) outerAggregate(c *ast.Call, name string) (e expr.Expr, ok bool) {
	for i := len(x.b.outer) - 1; i >= 0; i-- {
		f := x.b.outer[i]
		if f.lateral || f.bind.aggs == nil || f.bind.inAgg || len(c.Args) == 0 {
			continue
		}
		// Its columns are those of the query around alone, which also its own binder
		// must not take from queries further out.
		frames := x.b.outer
		x.b.outer = frames[:i:i]
		v, err := f.bind.aggregate(c, name)
		x.b.outer = frames
		if err != nil {
			continue
		}
		return x.b.paramFor(f, v, name), true
	}
	return nil, false
}
