package parser

import "github.com/sluice-stream/sluice/sql/ast"

// joins reads a table and the joins behind it, leaning to the left.
func (p *parser) joins() ast.Table {
	p.enter()
	defer p.leave()
	return p.joinsFrom(p.tableFactor())
}

// joinsFrom reads the joins behind a table.
func (p *parser) joinsFrom(left ast.Table) ast.Table {
	for links := 0; ; p.link(&links) {
		j := p.joinHead()
		if j == nil {
			return left
		}
		j.L = left
		j.R = p.tableFactor()
		p.joinCondition(j)
		left = j
	}
}

// joinHead reads the words up to and with JOIN, or returns nil.
func (p *parser) joinHead() *ast.Join {
	j := &ast.Join{Pos: p.pos()}
	words := false
	take := func(w string) bool {
		if p.accept(w) {
			words = true
			return true
		}
		return false
	}
	j.Natural = take("NATURAL")
	j.Asof = p.tok().is("ASOF") && take("ASOF")
	switch {
	case take("INNER"):
	case take("CROSS"):
		j.Kind = ast.CrossJoin
	case take("LEFT"):
		j.Kind = ast.LeftJoin
		switch {
		case take("SEMI"):
			j.Kind = ast.SemiJoin
		case take("ANTI"):
			j.Kind = ast.AntiJoin
		default:
			take("OUTER")
		}
	case take("RIGHT"):
		j.Kind = ast.RightJoin
		take("OUTER")
	case take("FULL"):
		j.Kind = ast.FullJoin
		take("OUTER")
	case p.tok().is("SEMI") && p.peek(1).is("JOIN") && take("SEMI"):
		j.Kind = ast.SemiJoin
	case p.tok().is("ANTI") && p.peek(1).is("JOIN") && take("ANTI"):
		j.Kind = ast.AntiJoin
	}
	if !words && !p.at("JOIN") {
		return nil
	}
	p.expect("JOIN")
	return j
}

func (p *parser) joinCondition(j *ast.Join) {
	if p.accept("MATCH_CONDITION") {
		p.expect("(")
		j.Match = p.expr()
		p.expect(")")
		j.Asof = true
	}
	switch {
	case p.accept("ON"):
		j.On = p.expr()
	case p.accept("USING"):
		p.expect("(")
		j.Using = p.identList("a column name")
		p.expect(")")
	}
	switch {
	case j.On == nil && j.Using == nil:
	case j.Natural:
		p.failf(j.Pos, "a NATURAL join takes no condition")
	case j.Kind == ast.CrossJoin: // as in Spark
		j.Kind = ast.InnerJoin
	}
}

// tableFactor reads one table with everything that hangs on it.
func (p *parser) tableFactor() ast.Table {
	t := p.tablePrimary()
	t = p.tableSuffixes(t)
	if alias := p.tableAlias(); alias != nil {
		alias.Input = t
		t = p.tableSuffixes(alias)
		if t == ast.Table(alias) {
			return t
		}
		// A PIVOT or MATCH_RECOGNIZE has a name of its own.
		if again := p.tableAlias(); again != nil {
			again.Input = t
			return again
		}
	}
	return t
}

// tablePrimary reads a name, function, query or parenthesised join.
func (p *parser) tablePrimary() ast.Table {
	pos := p.pos()
	lateral := false
	if p.tok().is("LATERAL") && !p.peek(1).is("VIEW") {
		p.advance()
		lateral = true
	}
	switch t := p.tok(); {
	case t.is("("):
		p.advance()
		if p.queryAhead() {
			d := &ast.Derived{Pos: pos, Lateral: lateral, Query: p.query()}
			p.expect(")")
			return d
		}
		in := p.joins()
		p.expect(")")
		return in
	case t.is("VALUES"):
		return &ast.Derived{Pos: pos, Lateral: lateral, Query: &ast.Query{Pos: pos, Body: p.values()}}
	case t.is("TABLE") && p.peek(1).is("("): // Flink's TABLE(TUMBLE(..))
		p.advance()
		p.expect("(")
		f := p.tableFunc(pos, lateral)
		p.expect(")")
		return f
	case t.kind == tokString && !lateral: // a path
		p.advance()
		return &ast.TableName{Pos: pos, Name: ast.Name{Pos: pos, Parts: []ast.Ident{{Pos: pos, Name: t.text, Quoted: true}}}}
	case t.kind == tokQuoted, t.kind == tokWord && !reserved[t.word]:
		name := p.name("a table name")
		if p.tok().is("(") {
			return p.tableCall(pos, lateral, name)
		}
		if lateral {
			p.failf(pos, "LATERAL stands before a query or a table function, not a table")
		}
		return &ast.TableName{Pos: pos, Name: name}
	}
	p.note("a table name")
	p.fail("a table name", "(")
	return nil
}

func (p *parser) tableFunc(pos ast.Pos, lateral bool) ast.Table {
	return p.tableCall(pos, lateral, p.name("a table function"))
}

func (p *parser) tableCall(pos ast.Pos, lateral bool, name ast.Name) ast.Table {
	c, ok := p.call(name).(*ast.Call)
	if !ok || c.Over != nil || c.Filter != nil {
		p.failf(pos, "a table function takes neither OVER nor FILTER")
	}
	f := &ast.TableFunc{Pos: pos, Lateral: lateral, Call: c}
	f.Ordinality = p.accept("WITH", "ORDINALITY")
	return f
}

// tableSuffixes reads time travel, samples, pivots and patterns.
func (p *parser) tableSuffixes(t ast.Table) ast.Table {
	for links := 0; ; p.link(&links) {
		switch w := p.tok(); {
		case w.is("FOR"), w.is("TIMESTAMP"), w.is("VERSION"), w.is("SYSTEM_TIME"), w.is("SYSTEM_VERSION"):
			if w.word != "FOR" && !p.startsClause(w) {
				return t
			}
			t = p.asOf(t)
		case w.is("TABLESAMPLE"):
			t = p.sample(t)
		case w.is("PIVOT") && p.peek(1).is("("):
			t = p.pivot(t)
		case w.is("UNPIVOT"):
			t = p.unpivot(t)
		case w.is("MATCH_RECOGNIZE"):
			t = p.matchRecognize(t)
		default:
			return t
		}
	}
}

// asOf reads [FOR] SYSTEM_TIME|TIMESTAMP|VERSION AS OF x.
func (p *parser) asOf(t ast.Table) ast.Table {
	pos := p.pos()
	p.accept("FOR")
	kind := p.expectOne("SYSTEM_TIME", "TIMESTAMP", "VERSION", "SYSTEM_VERSION")
	p.expect("AS")
	p.expect("OF")
	a := &ast.AsOf{Pos: pos, Kind: "SYSTEM_TIME"}
	if kind == "VERSION" || kind == "SYSTEM_VERSION" {
		a.Kind = "VERSION"
	}
	a.X = p.exprAt(precBitOr)
	inner := t
	if al, ok := t.(*ast.Aliased); ok {
		inner = al.Input
	}
	tn, ok := inner.(*ast.TableName)
	if !ok || tn.AsOf != nil {
		p.failf(pos, "AS OF stands behind a table's name, once")
	}
	tn.AsOf = a
	return t
}

// tableAlias reads [AS] name [(columns)], or nil.
func (p *parser) tableAlias() *ast.Aliased {
	a := &ast.Aliased{Pos: p.pos()}
	if p.accept("AS") {
		a.Alias = p.aliasAfterAs()
	} else if id := p.bareAlias(); id != nil {
		a.Alias = *id
	} else {
		return nil
	}
	if p.accept("(") {
		a.Columns = p.identList("a column name")
		p.expect(")")
	}
	return a
}

func (p *parser) lateralView(in ast.Table) ast.Table {
	v := &ast.LateralView{Pos: p.expect("LATERAL"), Input: in}
	p.expect("VIEW")
	v.Outer = p.accept("OUTER")
	name := p.name("a table function")
	c, ok := p.call(name).(*ast.Call)
	if !ok || c.Over != nil {
		p.failf(name.Pos, "LATERAL VIEW takes a table function such as explode(..)")
	}
	v.Call = c
	if !p.at("AS") {
		v.Alias = p.ident("a name for the view")
	}
	if p.accept("AS") {
		v.Columns = p.identList("a column name")
	}
	return v
}

func (p *parser) sample(in ast.Table) ast.Table {
	s := &ast.Sample{Pos: p.expect("TABLESAMPLE"), Input: in}
	p.acceptOne("SYSTEM", "BERNOULLI")
	p.expect("(")
	if p.accept("BUCKET") {
		s.Unit, s.Value = "BUCKET", p.exprAt(precBitOr)
		p.expect("OUT")
		p.expect("OF")
		s.OutOf = p.exprAt(precBitOr)
	} else {
		s.Value = p.exprAt(precBitOr)
		s.Unit = p.acceptOne("PERCENT", "ROWS")
		if s.Unit == "" {
			s.Unit = "PERCENT"
		}
	}
	p.expect(")")
	if p.accept("REPEATABLE") {
		p.expect("(")
		s.Repeat = p.expr()
		p.expect(")")
	}
	return s
}
