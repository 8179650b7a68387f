// Package expr holds typed, bound expressions: what SQL text and the DataFrame
// both become, what rules rewrite and what executor/eval computes.
//
// An expression is an immutable tree. Columns are positions in the input's
// schema, never names, so that a plan can be read without a scope. Types are
// Arrow's (arrow.DataType), see TypeName for how SQL writes them.
//
// A Function carries its kernel: the registry in sql/functions makes functions,
// executor/eval runs them, and neither imports the other. What needs lazy
// evaluation (AND, OR, CASE, COALESCE-like) is a node of its own, so that a
// branch is computed only for the rows that take it and an error in a branch
// not taken is no error (SQL's CASE WHEN x <> 0 THEN 1 / x END).
//
// Invariants:
//
//	X1  An expression is never changed after it was made; rewriting makes a new one.
//	X2  Kernels are pure but for what KernelContext gives them, so that the same
//	    plan and rows give the same result.
//	X3  Numbers, dates and times of a Literal are held in the Go types that Literal states.
package expr
