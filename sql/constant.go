package sql

import (
	"github.com/sluice-stream/sluice/planner/expr"
)

// computed computes an expression of literals, as LIMIT 2 + 1 and the bounds of
// window frames may be written. What is no constant, or fails, stays as it is.
func (b *binder) computed(e expr.Expr) expr.Expr {
	return expr.Transform(e, func(e expr.Expr) expr.Expr {
		switch e := e.(type) {
		case *expr.Cast:
			return b.fold(e)
		case *expr.Call:
			return expr.FoldCall(e, b.kernelContext().Zone)
		}
		return e
	})
}

// Constant computes an expression without columns; false if that fails.
func Constant(e expr.Expr, zone string) (*expr.Literal, bool) {
	l, ok := newBinder(nil, Options{Zone: zone}).computed(e).(*expr.Literal)
	return l, ok
}
