package sql

import (
	"github.com/apache/arrow-go/v18/arrow/memory"

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
			return b.foldCall(e)
		}
		return e
	})
}

// Constant computes an expression without columns; false if that fails.
func Constant(e expr.Expr, zone string) (*expr.Literal, bool) {
	l, ok := newBinder(nil, Options{Zone: zone}).computed(e).(*expr.Literal)
	return l, ok
}

func (b *binder) foldCall(e *expr.Call) expr.Expr {
	if e.Func.Volatility != expr.Immutable || len(e.Args) == 0 {
		return e
	}
	args := make([]expr.Vec, len(e.Args))
	defer func() {
		for _, a := range args {
			if a.Arr != nil {
				a.Arr.Release()
			}
		}
	}()
	for i, a := range e.Args {
		l, ok := a.(*expr.Literal)
		if !ok {
			return e
		}
		if l.Value == nil && e.Func.Strict {
			return expr.NullOf(e.DT)
		}
		arr, err := l.Array(memory.DefaultAllocator)
		if err != nil {
			return e
		}
		args[i] = expr.Vec{Arr: arr, Const: true}
	}
	kc := b.kernelContext()
	kc.Result = e.DT
	out, err := e.Func.Kernel(kc, args, 1)
	if err != nil {
		return e
	}
	defer out.Release()
	if l, ok := expr.LiteralOf(out, 0); ok {
		return l
	}
	return e
}
