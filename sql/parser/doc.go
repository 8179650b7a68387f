// Package parser turns SQL text into the tree of package ast.
//
// It is one lexer and one recursive descent with precedence climbing for the
// whole dialect: Spark SQL's expressions and queries, Flink's DDL and table
// functions, and the statements that Sluice adds. It decides what the text
// says, never what a name means.
//
// Invariants:
//
//	P1  It never panics and never recurses deeper than MaxDepth levels of
//	    nesting, whatever the input. Chains of operators, set operations and
//	    joins are read in loops and have a limit of their own.
//	P2  It takes time linear in the length of the text: there is no
//	    backtracking, only a bounded look-ahead over tokens.
//	P3  Every error is an *ast.PosError at the first token that cannot be
//	    right, and names what could have stood there.
//	P4  Words are keywords only where the grammar looks for them. The few
//	    that can never be a bare name are listed in words.go.
//
// Example:
//
//	stmts, err := parser.Parse("SELECT 1; SHOW TABLES", parser.Options{})
//	// err.Error(): 1:8: expected an expression, found ...
package parser
