// Package sql turns SQL text into a logical plan. The way of a text through it:
//
//	text -> parser.Parse -> ast -> BindQuery, BindInsert, BuildTable -> planner/logical
//
// The binder resolves names, picks functions, inserts casts and says what is
// wrong at line and column of the user's own text. It knows tables only through
// Catalog, and functions only through package functions. It is a pure function
// of the tree and the catalog: no I/O, no clock, no map order in a plan.
//
// Invariants:
//
//	B1  Every error about the text is an *ast.PosError at the construct at fault.
//	B2  A plan refers to columns by position; names in it serve people alone.
//	B3  What the binder cannot bind yet is refused by name, never ignored.
//	B4  The columns that a bound query returns are named and typed as in Spark.
//
// Example:
//
//	q, err := parser.ParseQuery("SELECT origin, count(*) AS n FROM flights GROUP BY origin", parser.Options{})
//	plan, err := sql.BindQuery(catalog, q, sql.Options{})
//	fmt.Print(logical.Explain(plan))
package sql
