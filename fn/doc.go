// Package fn has a Go function for each function of SQL, so that a compiler knows
// their names: fn.Upper(sluice.Col("s")) is sluice.Call("upper", sluice.Col("s")).
//
// Arguments are what sluice.Call takes: Columns, constants, DataFrames as scalar
// subqueries, and for a lambda Go functions of Columns. Aggregates and window functions
// are completed by the methods of Column: Distinct, FilterWhere, WithinGroup, Over.
//
// All files but this one are written from the registry by go test ./fn -rewrite; what
// each function does is on the page docs/sql/functions.md.
package fn
