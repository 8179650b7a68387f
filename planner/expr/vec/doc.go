// Package vec is the kit that kernels are made of: typed views of Arrow
// columns, writers for results, null masks word by word, gathering rows and an
// ordered encoding of single values. Casts, functions and the evaluator share
// it, so that each idea about a column's memory is written down once.
//
// What it never does: know a function, an expression or a plan.
//
// Invariants:
//
//	V1  A view borrows: it lives no longer than the array it was taken from.
//	V2  Result memory comes from the allocator given and is freed on every error path.
//	V3  Validity is a bitmap of set bits for rows that hold a value; a nil bitmap is all valid.
//	V4  Encode is self-delimiting, and its bytes compare as SQL compares the values.
package vec
