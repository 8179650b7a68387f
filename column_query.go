package sluice

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/sluice-stream/sluice/sql/ast"
)

// Outer names a column of the query around the one that it is used in, whatever
// the inner one's columns are called. A DataFrame with such a column has a meaning
// only inside another one: as Scalar, Exists, In, or in a lateral join.
func Outer(name string) Column {
	c := Col(name)
	if k, ok := c.e.(*ast.Column); ok {
		c.e = &ast.Column{Parts: k.Parts, Outer: true}
		return c
	}
	return Column{err: firstErr(c.err, fmt.Errorf("Outer(%q): want the name of one column", name))}
}

// Scalar is the value of a DataFrame of one column and at most one row, NULL if
// it has none.
func Scalar(d *DataFrame) Column {
	q, err := d.asQuery()
	return Column{e: &ast.Subquery{Query: q}, err: err}
}

// Exists is true where a DataFrame has rows.
func Exists(d *DataFrame) Column {
	q, err := d.asQuery()
	return Column{e: &ast.Exists{Query: q}, err: err}
}

// InQuery is true where c is among the values of a DataFrame of one column.
func (c Column) InQuery(d *DataFrame) Column {
	q, err := d.asQuery()
	return Column{e: &ast.In{X: c.e, Query: q}, err: firstErr(c.err, err)}
}

// NotInQuery is true where c is not among the values; NULL among them makes it NULL.
func (c Column) NotInQuery(d *DataFrame) Column {
	out := c.InQuery(d)
	out.e.(*ast.In).Not = true
	return out
}

// Quantified is all values of a DataFrame, to compare with: c.Gt(AnyOf(d)).
type Quantified struct {
	d   *DataFrame
	how string
}

// AnyOf compares with the values of a DataFrame of one column: true where the
// comparison is for one of them.
func AnyOf(d *DataFrame) Quantified { return Quantified{d, "ANY"} }

// AllOf compares with the values of a DataFrame of one column: true where the
// comparison is for each of them.
func AllOf(d *DataFrame) Quantified { return Quantified{d, "ALL"} }

func (q Quantified) compare(op string, l Column) Column {
	query, err := q.d.asQuery()
	return Column{e: &ast.Quantified{Op: op, Quantifier: q.how, L: l.e, Query: query}, err: firstErr(l.err, err)}
}

// open says whether a query has a column of Outer that nothing in it satisfies:
// one that stands below no subquery and no lateral join.
func open(n ast.Node) bool {
	found := false
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Subquery, *ast.Exists:
			return false
		case *ast.Quantified:
			found = found || open(n.L)
			return false
		case *ast.In:
			if n.Query != nil {
				found = found || open(n.X)
				return false
			}
		case *ast.Derived:
			return !n.Lateral && !found
		case *ast.Column:
			found = found || n.Outer
		}
		return !found
	})
	return found
}

// argument is what a function or operator is given: a Column, a constant, a
// DataFrame as a scalar subquery, or a Go function of Columns as a lambda.
func argument(v any) Column {
	switch f := v.(type) {
	case *DataFrame:
		return Scalar(f)
	case func(Column) Column:
		return lambda(1, func(p []Column) Column { return f(p[0]) })
	case func(Column, Column) Column:
		return lambda(2, func(p []Column) Column { return f(p[0], p[1]) })
	case func(Column, Column, Column) Column:
		return lambda(3, func(p []Column) Column { return f(p[0], p[1], p[2]) })
	}
	return Lit(v)
}

// lambdas numbers the parameters while their lambdas are built.
var lambdas atomic.Uint64

// lambda calls f with a column for each parameter. The parameters get their
// names when the body is known, so that they hide no column and no inner
// lambda's parameter in it; the same code gives the same names.
func lambda(n int, f func([]Column) Column) Column {
	params, cols := make([]*ast.Column, n), make([]Column, n)
	for i := range params {
		params[i] = &ast.Column{Parts: []ast.Ident{{Name: fmt.Sprintf("\x00%d", lambdas.Add(1))}}}
		cols[i] = Column{e: params[i]}
	}
	body := f(cols)
	if body.e == nil {
		return Column{err: firstErr(body.err, fmt.Errorf("a lambda gave no column"))}
	}
	taken := namesIn(body.e)
	l := &ast.Lambda{Body: body.e}
	for i, p := range params {
		name := []string{"x", "y", "z"}[i]
		for k := 1; slices.Contains(taken, name); k++ {
			name = fmt.Sprintf("%s%d", []string{"x", "y", "z"}[i], k)
		}
		p.Parts[0].Name = name
		l.Params = append(l.Params, ast.Ident{Name: name})
	}
	return Column{e: l, err: body.err}
}

// namesIn lists the first parts of all names in an expression, in lower case.
func namesIn(e ast.Expr) []string {
	var out []string
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Column:
			out = append(out, strings.ToLower(n.Parts[0].Name))
		case *ast.Lambda:
			for _, p := range n.Params {
				out = append(out, strings.ToLower(p.Name))
			}
		}
		return true
	})
	return out
}
