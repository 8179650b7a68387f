package parser

import "github.com/sluice-stream/sluice/sql/ast"

// create reads the words behind CREATE and hands on to the kind they name.
func (p *parser) create() ast.Stmt {
	pos := p.expect("CREATE")
	replace := p.accept("OR", "REPLACE")
	temp := p.acceptOne("TEMPORARY", "TEMP") != ""
	switch {
	case p.accept("TABLE"):
		return p.createTable(&ast.CreateTable{Pos: pos, OrReplace: replace, Temporary: temp})
	case p.accept("VIEW"):
		return p.createView(&ast.CreateView{Pos: pos, OrReplace: replace, Temporary: temp})
	case p.accept("FUNCTION"):
		return p.createFunction(&ast.CreateFunction{Pos: pos, OrReplace: replace, Temporary: temp})
	case !temp && p.accept("MATERIALIZED"):
		p.expect("VIEW")
		return p.createView(&ast.CreateView{Pos: pos, OrReplace: replace, Materialized: true})
	case !temp && p.accept("STREAMING"):
		p.expect("QUERY")
		return p.createQuery(&ast.CreateStreamingQuery{Pos: pos, OrReplace: replace})
	case !temp && !replace && p.at("SCHEMA", "DATABASE"):
		p.advance()
		s := &ast.CreateSchema{Pos: pos, IfNotExists: p.accept("IF", "NOT", "EXISTS")}
		s.Name = p.name("a name")
		if p.accept("COMMENT") {
			s.Comment = p.str()
		}
		return s
	}
	p.fail("TABLE", "VIEW", "FUNCTION", "MATERIALIZED VIEW", "STREAMING QUERY", "SCHEMA")
	return nil
}

func (p *parser) createTable(t *ast.CreateTable) ast.Stmt {
	t.IfNotExists = p.accept("IF", "NOT", "EXISTS")
	t.Name = p.name("a name for the table")
	if p.tok().is("(") && !startsQuery(p.peek(1)) {
		p.advance()
		for {
			p.tableElement(t)
			if !p.accept(",") {
				break
			}
		}
		p.expect(")")
	}
	p.tableClauses(t)
	switch {
	case p.accept("LIKE"):
		n := p.name("the name of a table")
		t.Like = &n
		p.likeOptions(t)
		p.tableClauses(t)
	case p.accept("AS"):
		t.Query = p.query()
	case p.at("SELECT"), p.tok().is("("):
		t.Query = p.query()
	}
	return t
}

// likeOptions reads (INCLUDING ALL EXCLUDING OPTIONS ..).
func (p *parser) likeOptions(t *ast.CreateTable) {
	if !p.accept("(") {
		return
	}
	for !p.at(")") {
		how := p.expectOne("INCLUDING", "EXCLUDING", "OVERWRITING")
		what := p.expectOne("ALL", "CONSTRAINTS", "GENERATED", "METADATA", "OPTIONS", "PARTITIONS", "WATERMARKS")
		t.LikeOptions = append(t.LikeOptions, how+" "+what)
	}
	p.expect(")")
}

// tableElement reads a column, a watermark or a primary key.
func (p *parser) tableElement(t *ast.CreateTable) {
	pos := p.pos()
	switch {
	case p.tok().is("WATERMARK") && p.peek(1).is("FOR"):
		p.accept("WATERMARK", "FOR")
		if t.Watermark != nil {
			p.failf(pos, "a table has one watermark; %q has one already", t.Watermark.Column.Parts[0].Name)
		}
		w := &ast.WatermarkDef{Pos: pos, Column: p.name("a column name")}
		p.expect("AS")
		w.Expr = p.expr()
		t.Watermark = w
	case p.tok().is("PRIMARY") && p.peek(1).is("KEY"), p.tok().is("CONSTRAINT") && p.peek(2).is("PRIMARY"):
		if p.accept("CONSTRAINT") {
			p.ident("a name for the constraint")
		}
		p.accept("PRIMARY", "KEY")
		p.expect("(")
		p.setPrimaryKey(t, pos, p.identList("a column name"))
		p.expect(")")
		p.enforcement(t)
	default:
		t.Columns = append(t.Columns, p.column(t))
	}
}

func (p *parser) setPrimaryKey(t *ast.CreateTable, pos ast.Pos, cols []ast.Ident) {
	if t.PrimaryKey != nil {
		p.failf(pos, "a table has one PRIMARY KEY")
	}
	t.PrimaryKey, t.PrimaryKeyAt = cols, pos
}

func (p *parser) enforcement(t *ast.CreateTable) {
	switch {
	case p.accept("NOT", "ENFORCED"):
		t.NotEnforced = true
	case p.at("ENFORCED"):
		p.failf(p.pos(), "a PRIMARY KEY is not checked here; write NOT ENFORCED")
	}
}

// column reads name AS expr, or name type and its clauses.
func (p *parser) column(t *ast.CreateTable) ast.ColumnDef {
	c := ast.ColumnDef{Pos: p.pos(), Name: p.ident("a column name")}
	if p.accept("AS") {
		c.Computed = p.expr()
		if p.accept("COMMENT") {
			c.Comment = p.str()
		}
		return c
	}
	c.Type = p.typ()
	for {
		pos := p.pos()
		switch {
		case p.accept("NOT", "NULL"):
			c.NotNull = true
		case p.accept("NULL"):
		case p.accept("METADATA"):
			c.Metadata = &ast.Metadata{Pos: pos}
			if p.accept("FROM") {
				c.Metadata.Key = p.str()
			}
			c.Metadata.Virtual = p.accept("VIRTUAL")
		case p.accept("PRIMARY", "KEY"):
			p.setPrimaryKey(t, pos, []ast.Ident{c.Name})
			p.enforcement(t)
		case p.accept("GENERATED", "ALWAYS", "AS"):
			p.expect("(")
			c.Computed = p.expr()
			p.expect(")")
			p.acceptOne("VIRTUAL", "STORED")
		case p.accept("DEFAULT"):
			c.Default = p.exprAt(precBitOr)
		case p.accept("COMMENT"):
			c.Comment = p.str()
		default:
			if c.Computed != nil && c.Metadata != nil {
				p.failf(c.Pos, "column %q is both computed and metadata", c.Name.Name)
			}
			return c
		}
	}
}

// tableClauses reads the clauses behind the columns, in any order.
func (p *parser) tableClauses(t *ast.CreateTable) {
	for {
		switch {
		case t.Comment == "" && p.accept("COMMENT"):
			t.Comment = p.str()
		case t.PartitionBy == nil && (p.accept("PARTITIONED", "BY") || p.accept("PARTITION", "BY")):
			p.expect("(")
			t.PartitionBy = p.identList("a column name")
			p.expect(")")
		case t.Using == "" && p.accept("USING"):
			t.Using = p.anyIdent("the name of a connector or format").Name
		case p.tok().is("WITH") && p.peek(1).is("("), p.at("OPTIONS", "TBLPROPERTIES"):
			p.advance()
			t.Options = p.options(t.Options)
		case p.accept("LOCATION"):
			pos := p.toks[p.i-1].pos
			at := p.pos()
			t.Options = p.addOption(t.Options, ast.Option{Pos: pos, Key: "path", Value: p.str(), ValuePos: at})
		default:
			return
		}
	}
}

// options reads ('key' = 'value', ..).
func (p *parser) options(have []ast.Option) []ast.Option {
	p.expect("(")
	for !p.at(")") {
		have = p.addOption(have, p.option())
		if !p.accept(",") {
			break
		}
	}
	p.expect(")")
	return have
}

func (p *parser) addOption(have []ast.Option, o ast.Option) []ast.Option {
	for _, h := range have {
		if h.Key == o.Key {
			p.failf(o.Pos, "option '%s' is given twice, first at %s", o.Key, h.Pos.LineCol())
		}
	}
	return append(have, o)
}

// option reads one; a key may be bare (a.b), a value a number or TRUE.
func (p *parser) option() ast.Option {
	t := p.tok()
	o := ast.Option{Pos: t.pos}
	switch t.kind {
	case tokString:
		o.Key = p.str()
	case tokWord, tokQuoted:
		o.Key = p.advance().text
		for p.at(".", "-") {
			o.Key += p.advance().text + p.anyIdent("the rest of the key").Name
		}
	default:
		p.fail("an option such as 'key' = 'value'")
	}
	p.accept("=")
	v := p.tok()
	o.ValuePos = v.pos
	switch {
	case v.kind == tokString:
		o.Value = p.str()
	case v.kind == tokNumber, v.is("TRUE"), v.is("FALSE"):
		o.Value = p.text[v.pos.Offset:v.end]
		p.advance()
	default:
		p.fail("a value in quotes")
	}
	return o
}

func (p *parser) createView(v *ast.CreateView) ast.Stmt {
	v.IfNotExists = p.accept("IF", "NOT", "EXISTS")
	v.Name = p.name("a name for the view")
	if p.accept("(") {
		for {
			c := ast.ViewColumn{Name: p.ident("a column name")}
			if p.accept("COMMENT") {
				c.Comment = p.str()
			}
			v.Columns = append(v.Columns, c)
			if !p.accept(",") {
				break
			}
		}
		p.expect(")")
	}
	for {
		switch {
		case v.Comment == "" && p.accept("COMMENT"):
			v.Comment = p.str()
			continue
		case p.tok().is("WITH") && p.peek(1).is("("), p.at("TBLPROPERTIES"):
			p.advance()
			v.Options = p.options(v.Options)
			continue
		}
		break
	}
	p.expect("AS")
	v.Query = p.query()
	return v
}
