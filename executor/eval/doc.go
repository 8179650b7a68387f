// Package eval computes bound expressions over record batches, a column at a
// time. It decides in which order and for which rows an expression's parts are
// computed, and owns the memory in between; what each part does is the kernel
// that the expression carries.
//
//	ev, err := eval.New(exprs, schema)
//	cols, err := ev.Run(kc, rec) // one array for each expression, the caller's
//
//	p, err := eval.NewPredicate(cond, schema)
//	sel, err := p.Select(kc, rec, sel[:0]) // positions of the rows where cond is true
//	out, err := eval.Take(kc.Alloc, rec, sel)
//
// A branch of CASE, and a later argument of AND and OR, is computed only for
// the rows that need it: on a frame, which is a selection of its parent's rows.
// What a parent has computed already is gathered, not computed again. Equal
// subexpressions are one node, so that they are computed once per frame.
//
// Invariants:
//
//	E1  An error of a row that a branch does not take is never seen; functions that
//	    cannot fail (Function.Total) may be computed for more rows than needed.
//	E2  A function with a result for each row of its own (rand) is computed on the
//	    whole batch, so that a row's result does not depend on other rows.
//	E3  All memory is released when Run or Select returns, but for what it returns.
//	E4  An Evaluator or Predicate is used by one goroutine at a time.
package eval
