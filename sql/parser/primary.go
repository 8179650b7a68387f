package parser

import (
	"strings"

	"github.com/sluice-stream/sluice/sql/ast"
)

// primary reads an operand.
func (p *parser) primary() ast.Expr {
	t := p.tok()
	switch t.kind {
	case tokNumber:
		p.advance()
		return p.numberLiteral(t)
	case tokString:
		return p.stringLiteral()
	case tokBinary:
		p.advance()
		return &ast.Literal{Pos: t.pos, Kind: ast.LitBinary, Text: t.text}
	case tokParam:
		p.advance()
		return &ast.Param{Pos: t.pos, Name: t.text}
	case tokOp:
		switch t.text {
		case "(":
			return p.paren()
		case "?":
			p.advance()
			p.params++
			return &ast.Param{Pos: t.pos, Index: p.params}
		case "[":
			return p.arrayLiteral()
		case "*":
			return p.star(nil)
		}
	case tokQuoted:
		return p.nameOrCall()
	case tokWord:
		if e := p.keywordExpr(t); e != nil {
			return e
		}
		if !reserved[t.word] || operandWords[t.word] || t.word == "LIKE" && p.peek(1).is("(") {
			return p.nameOrCall()
		}
	default: // the end, or a character that starts nothing
	}
	p.note("an expression")
	p.fail("an expression")
	return nil
}

// numberLiteral cuts off the suffix.
func (p *parser) numberLiteral(t *token) ast.Expr {
	text, kind := t.text, ast.LitInt
	switch suffix := strings.TrimLeft(text, "0123456789.E+-"); suffix {
	case "L":
		kind = ast.LitLong
	case "S":
		kind = ast.LitShort
	case "Y":
		kind = ast.LitByte
	case "D":
		kind = ast.LitDouble
	case "F":
		kind = ast.LitFloat
	case "BD":
		kind = ast.LitBigDecimal
	default:
		switch {
		case strings.Contains(text, "E"):
			kind = ast.LitDouble
		case strings.Contains(text, "."):
			kind = ast.LitDecimal
		}
	}
	if kind <= ast.LitLong && strings.ContainsAny(text, ".E") {
		p.failf(t.pos, "the suffix of %s is of whole numbers only", text)
	}
	return &ast.Literal{Pos: t.pos, Kind: kind, Text: strings.TrimRight(text, "LSYDFB")}
}

// stringLiteral joins adjacent strings.
func (p *parser) stringLiteral() ast.Expr {
	pos := p.pos()
	return &ast.Literal{Pos: pos, Kind: ast.LitString, Text: p.str()}
}

// str reads a string and those that follow it directly.
func (p *parser) str() string {
	if p.tok().kind != tokString {
		p.fail("a string in quotes")
	}
	text := p.advance().text
	if p.tok().kind != tokString {
		return text
	}
	var b strings.Builder
	b.WriteString(text)
	for p.tok().kind == tokString {
		b.WriteString(p.advance().text)
	}
	return b.String()
}

// paren reads (x), (query) and (a, b).
func (p *parser) paren() ast.Expr {
	pos := p.expect("(")
	if p.queryAhead() {
		q := p.query()
		p.expect(")")
		return &ast.Subquery{Pos: pos, Query: q}
	}
	x := p.rowItem()
	if p.accept(")") {
		if _, named := x.(*ast.AliasArg); named {
			p.failf(x.Position(), "a name stands in a row of two values or more: (a AS x, b AS y)")
		}
		return x
	}
	row := &ast.Row{Pos: pos, Items: []ast.Expr{x}}
	for p.accept(",") {
		row.Items = append(row.Items, p.rowItem())
	}
	p.expect(")")
	return row
}

// rowItem reads one value of a row, perhaps with the name of its field.
func (p *parser) rowItem() ast.Expr {
	x := p.expr()
	if p.accept("AS") {
		return &ast.AliasArg{Pos: x.Position(), X: x, Name: p.anyIdent("a name")}
	}
	return x
}

// queryAhead looks through opening parentheses for the start of a query and
// tells ((SELECT 1) UNION SELECT 2) from ((SELECT 1) + 1) by what stands behind
// each closing one. The outermost parenthesis was read already.
func (p *parser) queryAhead() bool {
	n := 0
	for p.peek(n).is("(") && n <= MaxDepth {
		n++
	}
	if !startsQuery(p.peek(n)) {
		return false
	}
	for k := n - 1; k >= 0; k-- {
		end := int(p.peek(k).match)
		if end == 0 { // never closed; the query parser says so best
			return true
		}
		next := &p.toks[end+1]
		if next.is(")") {
			continue
		}
		return p.followsQuery(next)
	}
	return true
}

// followsQuery says whether a token can stand behind a query in parentheses
// inside of a larger query.
func (p *parser) followsQuery(t *token) bool {
	switch t.word {
	case "UNION", "INTERSECT", "EXCEPT", "MINUS", "ORDER", "LIMIT", "OFFSET", "FETCH":
		return true
	}
	return false
}

// lambdaAhead says whether (a, b) -> or () -> comes next.
func (p *parser) lambdaAhead() bool {
	n := 1
	for {
		t := p.peek(n)
		if t.kind != tokWord && t.kind != tokQuoted || t.kind == tokWord && reserved[t.word] && !operandWords[t.word] {
			return false
		}
		switch nx := p.peek(n + 1); {
		case nx.is(","):
			n += 2
		case nx.is(")"):
			return p.peek(n + 2).is("->")
		default:
			return false
		}
	}
}

func (p *parser) lambda() ast.Expr {
	p.enter()
	defer p.leave()
	l := &ast.Lambda{Pos: p.pos()}
	if p.accept("(") {
		l.Params = []ast.Ident{p.lambdaParam()}
		for p.accept(",") {
			l.Params = append(l.Params, p.lambdaParam())
		}
		p.expect(")")
	} else {
		l.Params = []ast.Ident{p.lambdaParam()}
	}
	p.expect("->")
	l.Body = p.argValue()
	return l
}

func (p *parser) lambdaParam() ast.Ident {
	if operandWords[p.tok().word] {
		return p.anyIdent("a parameter of the lambda")
	}
	return p.ident("a parameter of the lambda")
}

// star reads * and what changes the list of columns; the qualifier was read already.
func (p *parser) star(qualifier []ast.Ident) ast.Expr {
	s := &ast.Star{Pos: p.pos(), Qualifier: qualifier}
	if len(qualifier) > 0 {
		s.Pos = qualifier[0].Pos
	}
	p.expect("*")
	if p.tok().is("EXCEPT") && p.peek(1).is("(") && !p.queryAfterParen() || p.tok().is("EXCLUDE") && p.peek(1).is("(") {
		p.advance()
		p.expect("(")
		p.excepted(s)
		for p.accept(",") {
			p.excepted(s)
		}
		p.expect(")")
	}
	if p.tok().is("REPLACE") && p.peek(1).is("(") {
		p.advance()
		p.expect("(")
		for {
			it := p.selectItem()
			if it.Alias == nil {
				p.fail("AS", "the name of the column that is replaced")
			}
			s.Replace = append(s.Replace, it)
			if !p.accept(",") {
				break
			}
		}
		p.expect(")")
	}
	if p.tok().is("RENAME") && p.peek(1).is("(") {
		p.advance()
		p.expect("(")
		for {
			r := ast.Renaming{From: p.ident("a column name")}
			p.expect("AS")
			r.To = p.ident("a column name")
			s.Rename = append(s.Rename, r)
			if !p.accept(",") {
				break
			}
		}
		p.expect(")")
	}
	return s
}

// excepted reads one name of an EXCEPT list.
func (p *parser) excepted(s *ast.Star) {
	if n := p.name("a column name"); len(n.Parts) == 1 {
		s.Except = append(s.Except, n.Parts[0])
	} else {
		s.Fields = append(s.Fields, n)
	}
}

// queryAfterParen tells SELECT * EXCEPT (a) from SELECT * EXCEPT (SELECT ..).
func (p *parser) queryAfterParen() bool {
	return startsQuery(p.peek(2)) || p.peek(2).is("(")
}

// nameOrCall reads a name, and what makes it a call, a star or a column.
func (p *parser) nameOrCall() ast.Expr {
	first := p.tok()
	var parts []ast.Ident
	if p.identifierAhead() {
		parts = p.identifierClause()
		first = &p.toks[p.i-1] // no keyword
	} else {
		parts = []ast.Ident{p.anyIdent("a name")}
	}
	for p.tok().is(".") {
		if p.peek(1).is("*") {
			p.advance()
			return p.star(parts)
		}
		p.advance()
		parts = append(parts, p.anyIdent("a name after the dot"))
		if len(parts) > MaxDepth {
			p.failf(parts[0].Pos, "a name of more than %d parts", MaxDepth)
		}
	}
	if p.tok().is("(") {
		return p.call(ast.Name{Pos: parts[0].Pos, Parts: parts})
	}
	if len(parts) == 1 {
		if x := p.semantics(parts[0]); x != nil {
			return x
		}
	}
	if len(parts) == 1 && first.kind == tokWord && niladic[first.word] {
		return &ast.Call{Pos: parts[0].Pos, Name: ast.Name{Pos: parts[0].Pos, Parts: parts}}
	}
	return &ast.Column{Pos: parts[0].Pos, Parts: parts}
}

// anyIdent reads a name where no clause can start: behind a dot every word is
// one.
func (p *parser) anyIdent(what string) ast.Ident {
	if p.identifierAhead() {
		parts := p.identifierClause()
		if len(parts) > 1 {
			p.failf(parts[1].Pos, "expected %s of one part", what)
		}
		return parts[0]
	}
	t := p.tok()
	if t.kind != tokWord && t.kind != tokQuoted {
		p.fail(what)
	}
	p.advance()
	return ast.Ident{Pos: t.pos, Name: t.text, Quoted: t.kind == tokQuoted}
}

// ident reads a name that is not a reserved word.
func (p *parser) ident(what string) ast.Ident {
	if t := p.tok(); t.kind == tokWord && reserved[t.word] {
		p.fail(what)
	}
	return p.anyIdent(what)
}

func (p *parser) identList(what string) []ast.Ident {
	out := []ast.Ident{p.ident(what)}
	for p.accept(",") {
		out = append(out, p.ident(what))
	}
	return out
}

// name reads a possibly qualified name.
func (p *parser) name(what string) ast.Name {
	n := ast.Name{Pos: p.pos()}
	if p.identifierAhead() {
		n.Parts = p.identifierClause()
	} else {
		n.Parts = []ast.Ident{p.ident(what)}
	}
	for p.accept(".") {
		n.Parts = append(n.Parts, p.anyIdent("a name after the dot"))
		if len(n.Parts) > MaxDepth {
			p.failf(n.Pos, "a name of more than %d parts", MaxDepth)
		}
	}
	return n
}
