// Package functions is the one registry of SQL's functions and operators: for
// each its names, signatures, result type, kernel, a sentence and an example
// that a test runs and the reference page shows.
//
// The binder asks for a call by name and arguments and gets a typed expression
// back, with the implicit casts of Spark's ANSI mode in it:
//
//	e, err := functions.Scalar("+", []expr.Expr{price, expr.Int64(1)})
//	a, err := functions.Aggregate("sum", []expr.Expr{price}, false)
//
// A group of functions is a file. A function is one entry in its group's list;
// nothing else has to change. Errors name the argument types given and the
// signatures that exist; the binder adds the position.
//
// What it never does: read SQL text, run a plan, or import the executor.
//
// Invariants:
//
//	F1  A name (and each alias) belongs to one entry; lookup does not depend on case.
//	F2  Rebind gives the same call from a bound call's name, arguments and type: it inserts no cast and picks the same overload.
//	F3  Every scalar entry has an example, and the example is true.
package functions
