package parser

import "github.com/sluice-stream/sluice/sql/ast"

// createFunction reads what follows CREATE FUNCTION.
func (p *parser) createFunction(f *ast.CreateFunction) ast.Stmt {
	f.IfNotExists = p.accept("IF", "NOT", "EXISTS")
	f.Name = p.name("a name for the function")
	if p.at("AS") {
		p.failf(p.pos(), "a function is written in SQL (RETURN expression) or registered by the program; there are no classes to load")
	}
	f.Params = p.functionParams()
	if p.accept("RETURNS") {
		if p.tok().is("TABLE") {
			p.advance()
			f.Table = true
			if p.tok().is("(") {
				f.Columns = p.functionParams()
			}
		} else {
			f.Returns = p.typ()
		}
	}
	p.characteristics(f)
	p.expect("RETURN")
	if f.Table {
		f.Query = p.query()
		return f
	}
	if startsQuery(p.tok()) {
		t := p.tok()
		f.Body = &ast.Subquery{Pos: t.pos, Query: p.query()}
		return f
	}
	f.Body = p.expr()
	return f
}

// characteristics reads what says how a function behaves, which its body shows.
func (p *parser) characteristics(f *ast.CreateFunction) {
	for {
		switch {
		case p.accept("LANGUAGE"):
			p.expect("SQL")
		case p.accept("NOT", "DETERMINISTIC"), p.accept("DETERMINISTIC"), p.accept("CONTAINS", "SQL"), p.accept("READS", "SQL", "DATA"),
			p.accept("SQL", "SECURITY", "DEFINER"), p.accept("SQL", "SECURITY", "INVOKER"):
		case p.accept("COMMENT"):
			f.Comment = p.str()
		default:
			return
		}
	}
}

func (p *parser) functionParams() []ast.FunctionParam {
	out := []ast.FunctionParam{}
	p.expect("(")
	for !p.at(")") {
		f := ast.FunctionParam{Name: p.ident("a name for the parameter"), Type: p.typ()}
		if p.accept("DEFAULT") {
			f.Default = p.expr()
		}
		if p.accept("COMMENT") {
			f.Comment = p.str()
		}
		out = append(out, f)
		if !p.accept(",") {
			break
		}
	}
	p.expect(")")
	return out
}

// declare reads DECLARE [OR REPLACE] [VARIABLE] names [type] [DEFAULT value].
func (p *parser) declare() ast.Stmt {
	d := &ast.DeclareVariable{Pos: p.expect("DECLARE")}
	d.OrReplace = p.accept("OR", "REPLACE")
	if next := p.peek(1); p.at("VARIABLE", "VAR") && (next.kind == tokWord || next.kind == tokQuoted) && !next.is("DEFAULT") {
		p.advance()
	}
	d.Names = []ast.Name{p.name("a name for the variable")}
	for p.accept(",") {
		d.Names = append(d.Names, p.name("a name for the variable"))
	}
	if t := p.tok(); t.kind == tokWord && !t.is("DEFAULT") {
		d.Type = p.typ()
	}
	switch {
	case p.accept("DEFAULT"), p.accept("="):
		d.Default = p.expr()
	case d.Type == nil:
		p.fail("a type", "DEFAULT")
	}
	return d
}

// setsVariable says whether SET VAR .. comes, which sets no setting.
func (p *parser) setsVariable() bool {
	if !p.peek(0).is("SET") || !p.peek(1).is("VAR") && !p.peek(1).is("VARIABLE") {
		return false
	}
	next := p.peek(2)
	return next.is("(") || next.kind == tokWord || next.kind == tokQuoted
}

func (p *parser) setVariable() ast.Stmt {
	s := &ast.SetVariable{Pos: p.expect("SET")}
	p.expectOne("VAR", "VARIABLE")
	if p.accept("(") {
		s.Names = []ast.Name{p.name("the name of a variable")}
		for p.accept(",") {
			s.Names = append(s.Names, p.name("the name of a variable"))
		}
		p.expect(")")
		p.expect("=")
		p.expect("(")
		s.Query = p.query()
		p.expect(")")
		return s
	}
	for {
		s.Names = append(s.Names, p.name("the name of a variable"))
		p.expect("=")
		if p.tok().is("DEFAULT") && p.endsItem(p.peek(1)) {
			p.advance()
			s.Values = append(s.Values, nil)
		} else {
			s.Values = append(s.Values, p.expr())
		}
		if !p.accept(",") {
			return s
		}
	}
}

// executeImmediate reads what follows EXECUTE IMMEDIATE.
func (p *parser) executeImmediate(pos ast.Pos) ast.Stmt {
	e := &ast.ExecuteImmediate{Pos: pos, Text: p.expr()}
	if p.accept("INTO") {
		e.Into = []ast.Name{p.name("the name of a variable")}
		for p.accept(",") {
			e.Into = append(e.Into, p.name("the name of a variable"))
		}
	}
	if p.accept("USING") {
		paren := p.accept("(")
		e.Using = []ast.Expr{p.rowItem()}
		for p.accept(",") {
			e.Using = append(e.Using, p.rowItem())
		}
		if paren {
			p.expect(")")
		}
	}
	return e
}
