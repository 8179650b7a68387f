package parser

import (
	"strconv"
	"strings"

	"github.com/sluice-stream/sluice/sql/ast"
)

// call reads the arguments behind a function's name and what follows them.
func (p *parser) call(name ast.Name) ast.Expr {
	p.expect("(")
	return p.callArgs(&ast.Call{Pos: name.Pos, Name: name})
}

// callArgs reads from behind the opening parenthesis.
func (p *parser) callArgs(c *ast.Call) ast.Expr {
	if p.accept("DISTINCT") {
		c.Distinct = true
	} else if p.tok().is("ALL") && !p.peek(1).is(")") && !p.peek(1).is(",") {
		p.advance()
	}
	if !p.at(")") {
		c.Args = append(c.Args, p.arg())
		p.unitArgs(c)
		for p.accept(",") {
			c.Args = append(c.Args, p.arg())
		}
	}
	p.nullTreatment(c)
	if p.accept("ORDER", "BY") {
		c.OrderBy = p.orderItems()
	}
	p.nullTreatment(c)
	p.expect(")")
	return p.callTail(c)
}

// unitArgs turns a bare unit of time into a string: timestampdiff(HOUR, a, b)
// and floor(ts TO DAY).
func (p *parser) unitArgs(c *ast.Call) {
	if len(c.Name.Parts) != 1 {
		return
	}
	name := strings.ToUpper(c.Name.Parts[0].Name)
	if col, ok := c.Args[0].(*ast.Column); ok && unitFunctions[name] && len(col.Parts) == 1 && !col.Parts[0].Quoted && p.tok().is(",") {
		// With two arguments the first one is a column (date_add(day, 1)); three
		// make it a unit. The comma count inside these parentheses decides.
		if u, ok := ast.Unit(col.Parts[0].Name, false); ok && p.commasAhead() == 2 {
			c.Args[0] = &ast.Literal{Pos: col.Pos, Kind: ast.LitString, Text: u}
		}
	}
	if (name == "FLOOR" || name == "CEIL" || name == "CEILING") && p.tok().is("TO") {
		p.advance()
		t := p.tok()
		u, ok := ast.Unit(t.word, false)
		if !ok {
			p.fail("a unit such as SECOND, MINUTE, HOUR, DAY, MONTH or YEAR")
		}
		p.advance()
		c.Args = append(c.Args, &ast.Literal{Pos: t.pos, Kind: ast.LitString, Text: u})
	}
}

// commasAhead counts the commas up to the parenthesis that closes this call.
func (p *parser) commasAhead() int {
	n, commas := 0, 0
	for {
		switch t := p.peek(n); {
		case t.kind == tokEOF || t.is(")"):
			return commas
		case t.is("(") && t.match > 0:
			n = int(t.match) - p.i
		case t.is(","):
			commas++
		}
		n++
	}
}

// arg reads one argument: name => x, a lambda, a table, or x AS name.
func (p *parser) arg() ast.Expr {
	t := p.tok()
	if (t.kind == tokWord || t.kind == tokQuoted) && p.peek(1).is("=>") {
		id := p.anyIdent("an argument's name")
		p.expect("=>")
		return &ast.NamedArg{Pos: t.pos, Name: id, X: p.argValue()}
	}
	if startsQuery(t) && !t.is("TABLE") {
		return &ast.Subquery{Pos: t.pos, Query: p.query()}
	}
	x := p.argValue()
	if p.accept("AS") {
		return &ast.AliasArg{Pos: t.pos, X: x, Name: p.anyIdent("a name")}
	}
	return x
}

// argValue reads an expression or what stands in arguments alone: a lambda or
// a table.
func (p *parser) argValue() ast.Expr {
	t := p.tok()
	switch {
	case t.is("TABLE"):
		return p.tableArg()
	case t.is("(") && p.lambdaAhead(), p.peek(1).is("->"):
		return p.lambda()
	}
	return p.expr()
}

func (p *parser) nullTreatment(c *ast.Call) {
	switch {
	case p.accept("IGNORE", "NULLS"):
		c.Nulls = "IGNORE"
	case p.accept("RESPECT", "NULLS"):
		c.Nulls = "RESPECT"
	}
}

// callTail reads WITHIN GROUP, FILTER, IGNORE NULLS and OVER.
func (p *parser) callTail(c *ast.Call) ast.Expr {
	if p.accept("WITHIN", "GROUP") {
		p.expect("(")
		p.expect("ORDER", "BY")
		c.WithinGroup = p.orderItems()
		p.expect(")")
	}
	if p.tok().is("FILTER") && p.peek(1).is("(") {
		p.advance()
		p.expect("(")
		p.accept("WHERE")
		c.Filter = p.expr()
		p.expect(")")
	}
	p.nullTreatment(c)
	if p.tok().is("OVER") {
		p.advance()
		c.Over = p.window()
	}
	return c
}

// window reads what follows OVER.
func (p *parser) window() *ast.WindowSpec {
	pos := p.pos()
	if !p.tok().is("(") {
		id := p.ident("a window's name or (")
		return &ast.WindowSpec{Pos: pos, Ref: &id, Bare: true}
	}
	return p.windowSpec()
}

// windowSpec reads ( [name] PARTITION BY .. ORDER BY .. frame ).
func (p *parser) windowSpec() *ast.WindowSpec {
	w := &ast.WindowSpec{Pos: p.expect("(")}
	t := p.tok()
	clause := t.is("PARTITION") || t.is("DISTRIBUTE") || t.is("SORT") || t.is("ROWS") || t.is("RANGE") || t.is("GROUPS")
	if (t.kind == tokWord && !clause && !reserved[t.word]) || t.kind == tokQuoted {
		id := p.ident("a window's name")
		w.Ref = &id
	}
	if p.accept("PARTITION", "BY") || p.accept("DISTRIBUTE", "BY") {
		w.PartitionBy = p.exprList()
	}
	if p.accept("ORDER", "BY") || p.accept("SORT", "BY") {
		w.OrderBy = p.orderItems()
	}
	if p.at("ROWS", "RANGE", "GROUPS") {
		w.Frame = p.frame()
	}
	p.expect(")")
	return w
}

func (p *parser) frame() *ast.Frame {
	f := &ast.Frame{Pos: p.pos(), Unit: p.expectOne("ROWS", "RANGE", "GROUPS")}
	f.End = ast.Bound{Kind: ast.CurrentRow}
	if p.accept("BETWEEN") {
		f.Start = p.bound()
		p.expect("AND")
		f.End = p.bound()
	} else {
		f.Start = p.bound()
	}
	if f.Start.Kind > f.End.Kind || f.Start.Kind == ast.UnboundedFollowing || f.End.Kind == ast.UnboundedPreceding {
		p.failf(f.Pos, "the window frame ends before it starts")
	}
	if p.accept("EXCLUDE") {
		switch {
		case p.accept("CURRENT", "ROW"):
			f.Exclude = "CURRENT ROW"
		case p.accept("NO", "OTHERS"):
			f.Exclude = "NO OTHERS"
		default:
			f.Exclude = p.expectOne("GROUP", "TIES", "CURRENT ROW", "NO OTHERS")
		}
	}
	return f
}

func (p *parser) bound() ast.Bound {
	switch {
	case p.accept("UNBOUNDED", "PRECEDING"):
		return ast.Bound{Kind: ast.UnboundedPreceding}
	case p.accept("UNBOUNDED", "FOLLOWING"):
		return ast.Bound{Kind: ast.UnboundedFollowing}
	case p.accept("CURRENT", "ROW"):
		return ast.Bound{Kind: ast.CurrentRow}
	}
	b := ast.Bound{Kind: ast.Preceding, Offset: p.exprAt(precBitOr)}
	if p.expectOne("PRECEDING", "FOLLOWING") == "FOLLOWING" {
		b.Kind = ast.Following
	}
	return b
}

// orderItems reads the keys of an ORDER BY.
func (p *parser) orderItems() []ast.OrderItem {
	out := []ast.OrderItem{p.orderItem()}
	for p.accept(",") {
		out = append(out, p.orderItem())
	}
	return out
}

func (p *parser) orderItem() ast.OrderItem {
	it := ast.OrderItem{}
	if p.tok().is("ALL") && p.endsKey(p.peek(1)) { // ORDER BY ALL, which is ORDER BY *
		it.Expr = &ast.Star{Pos: p.advance().pos}
	} else {
		it.Expr = p.expr()
	}
	if !p.accept("ASC") {
		it.Desc = p.accept("DESC")
	}
	if p.accept("NULLS") {
		it.Nulls = p.expectOne("FIRST", "LAST")
	}
	return it
}

// endsKey says whether a token can stand behind a key of ORDER BY.
func (p *parser) endsKey(t *token) bool {
	switch {
	case t.kind == tokEOF, t.is(")"), t.is(";"), t.is("|>"):
		return true
	}
	switch t.word {
	case "ASC", "DESC", "NULLS", "LIMIT", "OFFSET", "FETCH":
		return true
	}
	return false
}

// number reads a whole number that fits an int.
func (p *parser) number(what string) int {
	t := p.tok()
	n, err := strconv.Atoi(t.text)
	if t.kind != tokNumber || err != nil {
		p.fail(what)
	}
	p.advance()
	return n
}
