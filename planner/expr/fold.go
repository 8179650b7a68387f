package expr

import "github.com/apache/arrow-go/v18/arrow/memory"

// FoldCall computes a call of an immutable function on literals in a time zone.
// What is no such call, or fails, comes back as it is: the error belongs to the
// rows that it meets.
func FoldCall(e *Call, zone string) Expr {
	if e.Func.Volatility != Immutable || len(e.Args) == 0 {
		return e
	}
	args := make([]Vec, len(e.Args))
	defer func() {
		for _, a := range args {
			if a.Arr != nil {
				a.Arr.Release()
			}
		}
	}()
	for i, a := range e.Args {
		l, ok := a.(*Literal)
		if !ok {
			return e
		}
		if l.Value == nil && e.Func.Strict {
			return NullOf(e.DT)
		}
		arr, err := l.Array(memory.DefaultAllocator)
		if err != nil {
			return e
		}
		args[i] = Vec{Arr: arr, Const: true}
	}
	kc := &KernelContext{Alloc: memory.DefaultAllocator, Result: e.DT, Zone: zone}
	out, err := e.Func.Kernel(kc, args, 1)
	if err != nil {
		return e
	}
	defer out.Release()
	if l, ok := LiteralOf(out, 0); ok {
		return l
	}
	return e
}
