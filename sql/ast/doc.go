// Package ast is the tree of a Sluice SQL statement as the user wrote it.
//
// The parser makes it and the binder reads it; nothing in between changes it.
// The package decides what can be said in the dialect, and nothing about what
// it means: no name is resolved and no type is checked here.
//
// Invariants:
//
//	A1  Every node carries the position of the user's own text where it
//	    starts. An error about a node needs no other source for line and column.
//	A2  SQL(n) prints a node so that parsing the print gives an equal tree
//	    (positions aside). Views and SHOW CREATE lean on it.
//	A3  Node kinds are closed: every switch over Expr, Table, QueryBody or
//	    Stmt can be complete, and lint holds it to that.
//	A4  AND and OR are flat lists, so that ten thousand branches are no
//	    deeper than two.
//
// Example:
//
//	stmts, err := parser.Parse("SELECT a + 1 FROM t WHERE b", parser.Options{})
//	sel := stmts[0].(*ast.QueryStmt).Query.Body.(*ast.Select)
//	fmt.Println(ast.SQL(sel.Items[0].Expr)) // (a + 1)
//	fmt.Println(sel.Where.Position())       // 1:27
package ast
