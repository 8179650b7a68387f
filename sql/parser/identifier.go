package parser

import (
	"strings"

	"github.com/sluice-stream/sluice/sql/ast"
)

// identifierAhead says whether IDENTIFIER('..') comes next, a name that is written
// as a constant string.
func (p *parser) identifierAhead() bool {
	return p.peek(0).is("IDENTIFIER") && p.peek(1).is("(") && p.peek(2).kind == tokString
}

// identifierClause reads IDENTIFIER('a.b' || 'c') and cuts the string into the
// parts of a name.
func (p *parser) identifierClause() []ast.Ident {
	pos := p.expect("IDENTIFIER")
	p.expect("(")
	x := p.expr()
	text, ok := constantText(x)
	if !ok {
		p.failf(x.Position(), "IDENTIFIER takes a constant string, such as 'a' || 'b'")
	}
	p.expect(")")
	n, err := ParseName(text, Options{})
	if err != nil {
		p.failf(pos, "IDENTIFIER: %s is not a name", ast.Quote(text))
	}
	for i := range n.Parts {
		n.Parts[i].Pos, n.Parts[i].Quoted = pos, true
	}
	return n.Parts
}

// constantText evaluates strings, || between them, and concat, lower and upper.
func constantText(x ast.Expr) (string, bool) {
	switch x := x.(type) {
	case *ast.Literal:
		return x.Text, x.Kind == ast.LitString
	case *ast.Binary:
		l, ok := constantText(x.L)
		r, ok2 := constantText(x.R)
		return l + r, ok && ok2 && x.Op == "||"
	case *ast.Call:
		var all strings.Builder
		for _, a := range x.Args {
			s, ok := constantText(a)
			if !ok {
				return "", false
			}
			all.WriteString(s)
		}
		switch name := strings.ToLower(x.Name.String()); {
		case name == "concat":
			return all.String(), true
		case name == "lower" && len(x.Args) == 1:
			return strings.ToLower(all.String()), true
		case name == "upper" && len(x.Args) == 1:
			return strings.ToUpper(all.String()), true
		}
	}
	return "", false
}
