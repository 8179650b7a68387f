package parser

import (
	"strings"

	"github.com/sluice-stream/sluice/sql/ast"
)

// keywordExpr reads the operands that start with a keyword, or returns nil if
// the word is a name here.
func (p *parser) keywordExpr(t *token) ast.Expr {
	next := p.peek(1)
	paren := next.is("(")
	switch t.word {
	case "NULL":
		p.advance()
		return &ast.Literal{Pos: t.pos, Kind: ast.LitNull, Text: "NULL"}
	case "TRUE", "FALSE":
		p.advance()
		return &ast.Literal{Pos: t.pos, Kind: ast.LitBool, Text: t.word}
	case "DATE", "TIME", "TIMESTAMP", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ":
		if next.kind == tokString {
			return p.typedLiteral(t.word)
		}
	case "INTERVAL":
		if next.kind == tokString || next.kind == tokNumber || (next.is("-") || next.is("+")) &&
			(p.peek(2).kind == tokString || p.peek(2).kind == tokNumber) {
			return p.interval()
		}
		if paren && p.unitBehind() {
			return p.intervalOf()
		}
	case "CASE":
		return p.caseExpr()
	case "EXISTS":
		return p.exists(t)
	case "ARRAY", "MAP":
		if next.is("[") {
			return p.bracketed()
		}
	}
	if paren {
		return p.specialCall(t)
	}
	return nil
}

// specialCall reads the functions whose arguments have keywords between them.
func (p *parser) specialCall(t *token) ast.Expr {
	switch t.word {
	case "CAST", "TRY_CAST":
		return p.cast(t)
	case "EXTRACT":
		return p.extract()
	case "POSITION":
		return p.position()
	case "SUBSTRING", "SUBSTR":
		return p.keywordArgs("FROM", "FOR")
	case "OVERLAY":
		return p.keywordArgs("PLACING", "FROM", "FOR")
	case "TRIM":
		return p.trim()
	case "DESCRIPTOR":
		p.advance()
		p.expect("(")
		d := &ast.Descriptor{Pos: t.pos, Columns: p.identList("a column name")}
		p.expect(")")
		return d
	}
	return nil
}

func (p *parser) typedLiteral(word string) ast.Expr {
	kinds := map[string]ast.LitKind{
		"DATE": ast.LitDate, "TIME": ast.LitTime, "TIMESTAMP": ast.LitTimestamp,
		"TIMESTAMP_NTZ": ast.LitTimestampNTZ, "TIMESTAMP_LTZ": ast.LitTimestampLTZ,
	}
	pos := p.advance().pos
	return &ast.Literal{Pos: pos, Kind: kinds[word], Text: p.str()}
}

// interval reads every spelling of an interval literal and checks it.
func (p *parser) interval() ast.Expr {
	n := &ast.Interval{Pos: p.advance().pos}
	for {
		part := p.intervalPart(len(n.Parts) == 0)
		n.Parts = append(n.Parts, part)
		if part.Unit == "" || part.To != "" || !p.intervalPartAhead() {
			break
		}
	}
	if _, err := n.Amount(); err != nil {
		p.failf(n.Pos, "%w", err)
	}
	return n
}

// intervalPartAhead says whether another value with a unit comes next.
func (p *parser) intervalPartAhead() bool {
	n := 0
	if t := p.peek(0); t.is("-") || t.is("+") {
		n++
	}
	if t := p.peek(n); t.kind != tokString && t.kind != tokNumber {
		return false
	}
	u := p.peek(n + 1)
	_, ok := ast.Unit(u.word, false)
	return u.kind == tokWord && ok
}

func (p *parser) intervalPart(first bool) ast.IntervalPart {
	var part ast.IntervalPart
	if p.acceptOne("-", "+") != "" && p.toks[p.i-1].text == "-" {
		part.Value = "-"
	}
	t := p.tok()
	quoted := t.kind == tokString
	if quoted {
		part.Value += p.str()
	} else {
		part.Value += p.advance().text
	}
	unit := func() string {
		u, ok := "", false
		if w := p.tok(); w.kind == tokWord {
			u, ok = ast.Unit(w.word, false)
		}
		if !ok {
			return ""
		}
		p.advance()
		if p.accept("(") { // a precision, which changes nothing
			p.number("a precision")
			p.expect(")")
		}
		return u
	}
	part.Unit = unit()
	if part.Unit == "" && (!quoted || !first) {
		p.fail("a unit such as SECOND, MINUTE, HOUR, DAY, MONTH or YEAR")
	}
	if part.Unit != "" && p.accept("TO") {
		if part.To = unit(); part.To == "" {
			p.fail("a unit such as SECOND, MINUTE, HOUR, DAY, MONTH or YEAR")
		}
	}
	return part
}

func (p *parser) caseExpr() ast.Expr {
	c := &ast.Case{Pos: p.expect("CASE")}
	if !p.at("WHEN") {
		c.Operand = p.expr()
	}
	for p.accept("WHEN") {
		w := ast.When{Cond: p.expr()}
		p.expect("THEN")
		w.Then = p.expr()
		c.Whens = append(c.Whens, w)
	}
	if len(c.Whens) == 0 {
		p.fail("WHEN")
	}
	if p.accept("ELSE") {
		c.Else = p.expr()
	}
	p.expect("END")
	return c
}

// exists reads EXISTS (query), or the function exists(array, x -> ..).
func (p *parser) exists(t *token) ast.Expr {
	p.advance()
	p.expect("(")
	if !p.queryAhead() {
		return p.callArgs(callNode(t))
	}
	q := p.query()
	p.expect(")")
	return &ast.Exists{Pos: t.pos, Query: q}
}

func (p *parser) cast(t *token) ast.Expr {
	p.advance()
	p.expect("(")
	x := p.expr()
	p.expect("AS")
	c := &ast.Cast{Pos: t.pos, Try: t.word == "TRY_CAST", X: x, Type: p.typ()}
	p.expect(")")
	return c
}

// callNode makes a plain call out of one that was written with keywords.
func callNode(t *token, args ...ast.Expr) *ast.Call {
	return &ast.Call{
		Pos: t.pos, Args: args,
		Name: ast.Name{Pos: t.pos, Parts: []ast.Ident{{Pos: t.pos, Name: t.text}}},
	}
}

// extract reads EXTRACT(field FROM x), a call with the field as a string.
func (p *parser) extract() ast.Expr {
	t := p.advance()
	p.expect("(")
	f := p.tok()
	if f.kind == tokWord && p.peek(1).is("FROM") || f.kind == tokString && p.peek(1).is("FROM") {
		p.advance()
		p.expect("FROM")
		x := p.expr()
		p.expect(")")
		return p.callTail(callNode(t, &ast.Literal{Pos: f.pos, Kind: ast.LitString, Text: strings.ToUpper(f.text)}, x))
	}
	return p.callArgs(callNode(t))
}

// position reads POSITION(a IN b), else a plain call.
func (p *parser) position() ast.Expr {
	t := p.advance()
	p.expect("(")
	if end := int(p.toks[p.i-1].match); end == 0 || p.at(")") {
		return p.callArgs(callNode(t))
	}
	first := p.exprAt(precCompare)
	if p.accept("IN") {
		c := callNode(t, first, p.expr())
		p.expect(")")
		return c
	}
	c := callNode(t, first)
	for p.accept(",") {
		c.Args = append(c.Args, p.arg())
	}
	p.expect(")")
	return p.callTail(c)
}

// keywordArgs reads f(a FROM b FOR c) as f(a, b, c); the words must come in
// this order, and the plain form works too.
func (p *parser) keywordArgs(words ...string) ast.Expr {
	t := p.advance()
	p.expect("(")
	if p.at(")") {
		return p.callArgs(callNode(t))
	}
	c := callNode(t, p.arg())
	if p.at(words[0]) {
		for _, w := range words {
			if p.accept(w) {
				c.Args = append(c.Args, p.expr())
			}
		}
		p.expect(")")
		return c
	}
	for p.accept(",") {
		c.Args = append(c.Args, p.arg())
	}
	p.expect(")")
	return p.callTail(c)
}

// trim reads TRIM([BOTH|LEADING|TRAILING] [chars] [FROM] x).
func (p *parser) trim() ast.Expr {
	t := p.advance()
	p.expect("(")
	n := &ast.Trim{Pos: t.pos, Where: "BOTH"}
	where := p.acceptOne("BOTH", "LEADING", "TRAILING")
	if where != "" {
		n.Where = where
		if p.accept("FROM") {
			n.X = p.expr()
			p.expect(")")
			return n
		}
	}
	first := p.arg()
	if p.accept("FROM") {
		n.Chars, n.X = first, p.expr()
		p.expect(")")
		return n
	}
	if where != "" {
		n.X = first
		p.expect(")")
		return n
	}
	c := callNode(t, first)
	for p.accept(",") {
		c.Args = append(c.Args, p.arg())
	}
	p.expect(")")
	return p.callTail(c)
}

// bracketed reads ARRAY[a, b] and MAP[k, v] as calls.
func (p *parser) bracketed() ast.Expr {
	c := callNode(p.advance())
	p.expect("[")
	if !p.at("]") {
		c.Args = p.exprList()
	}
	p.expect("]")
	return c
}

// arrayLiteral reads [a, b], which other dialects write for array(a, b).
func (p *parser) arrayLiteral() ast.Expr {
	p.enter()
	defer p.leave()
	pos := p.expect("[")
	c := &ast.Call{Pos: pos, Name: ast.Name{Pos: pos, Parts: []ast.Ident{{Pos: pos, Name: "array"}}}}
	if !p.at("]") {
		c.Args = p.exprList()
	}
	p.expect("]")
	return c
}

// intervalOf reads INTERVAL (x) DAY, so many days.
func (p *parser) intervalOf() ast.Expr {
	pos := p.expect("INTERVAL")
	p.expect("(")
	x := p.expr()
	p.expect(")")
	u, ok := ast.Unit(p.tok().word, false)
	if !ok || p.tok().kind != tokWord {
		p.fail("a unit such as SECOND, MINUTE, HOUR, DAY, MONTH or YEAR")
	}
	p.advance()
	one := &ast.Interval{Pos: pos, Parts: []ast.IntervalPart{{Value: "1", Unit: u}}}
	if _, err := one.Amount(); err != nil {
		p.failf(pos, "%w", err)
	}
	return &ast.Binary{Pos: pos, Op: "*", L: x, R: one}
}

// unitBehind says whether a unit of time stands behind the parenthesis at peek(1).
func (p *parser) unitBehind() bool {
	end := int(p.peek(1).match)
	if end == 0 || end+1 >= len(p.toks) {
		return false
	}
	t := &p.toks[end+1]
	_, ok := ast.Unit(t.word, false)
	return ok && t.kind == tokWord
}

// tableArg reads TABLE t or TABLE (query), as an argument of a table function.
func (p *parser) tableArg() ast.Expr {
	n := &ast.TableArg{Pos: p.expect("TABLE")}
	if p.accept("(") {
		if p.queryAhead() {
			n.Query = p.query()
		} else {
			n.Table = p.name("a table name")
		}
		p.expect(")")
	} else {
		n.Table = p.name("a table name")
	}
	if p.accept("PARTITION", "BY") || p.accept("DISTRIBUTE", "BY") {
		n.PartitionBy = p.partitionKeys()
	}
	if p.accept("ORDER", "BY") {
		n.OrderBy = p.orderItems()
	}
	return n
}

// partitionKeys reads a list that may stand in parentheses. Without them only
// one key is read, because a comma ends the argument.
func (p *parser) partitionKeys() []ast.Expr {
	if p.tok().is("(") {
		p.advance()
		keys := p.exprList()
		p.expect(")")
		return keys
	}
	return []ast.Expr{p.expr()}
}
