package parser

import (
	"slices"
	"strings"

	"github.com/sluice-stream/sluice/sql/ast"
)

// statement reads one statement up to its semicolon.
func (p *parser) statement() ast.Stmt {
	p.enter()
	defer p.leave()
	p.params = 0
	t := p.tok()
	if t.is("WITH") {
		return p.withStatement()
	}
	if startsQuery(t) || t.is("(") {
		return &ast.QueryStmt{Pos: t.pos, Query: p.query()}
	}
	switch t.word {
	case "CREATE":
		return p.create()
	case "INSERT":
		return p.insert()
	case "DROP":
		return p.drop()
	case "STOP", "START":
		return p.control()
	case "ALTER":
		return p.alter()
	case "SAVE":
		return p.save()
	case "SHOW":
		return p.show()
	case "DESCRIBE", "DESC":
		return p.describe()
	case "SET":
		if p.setsVariable() {
			return p.setVariable()
		}
		return p.set()
	case "DECLARE":
		return p.declare()
	case "RESET":
		return p.reset()
	case "EXPLAIN":
		return p.explain()
	case "USE":
		return p.use()
	case "BEGIN":
		return &ast.StatementSet{Pos: t.pos, Inserts: p.insertBlock()}
	case "EXECUTE":
		p.advance()
		if p.expectOne("STATEMENT", "IMMEDIATE") == "IMMEDIATE" {
			return p.executeImmediate(t.pos)
		}
		p.expect("SET")
		return &ast.StatementSet{Pos: t.pos, Inserts: p.insertBlock()}
	case "REFRESH":
		return p.refresh()
	case "REPLAY":
		p.advance()
		p.expect("QUARANTINE")
		p.acceptOne("FOR", "OF")
		r := &ast.ReplayQuarantine{Pos: t.pos, Name: p.name("the name of a query or table")}
		if p.accept("WHERE") {
			r.Where = p.expr()
		}
		return r
	}
	if why := refused[t.word]; why != "" {
		p.failf(t.pos, "%s is not part of the dialect: %s", t.word, why)
	}
	p.note(statementWords...)
	p.fail("a statement")
	return nil
}

// rowsChange is why rows are not changed in place.
const rowsChange = "rows of a table are not changed in place; write a new table by INSERT OVERWRITE or CREATE OR REPLACE TABLE .. AS SELECT"

// refused says of statements that other engines have why this one has not.
var refused = map[string]string{
	"UPDATE": rowsChange, "DELETE": rowsChange, "MERGE": rowsChange,
	"TRUNCATE": "drop the table, or write it anew by INSERT OVERWRITE",
	"CALL":     "there are no procedures",
	"GRANT":    "who may read a table is decided where its data is", "REVOKE": "who may read a table is decided where its data is",
	"ANALYZE": "statistics come from the files when they are read", "MSCK": "partitions are found when they are read",
	"REPAIR": "partitions are found when they are read", "LOAD": "write CREATE TABLE .. WITH ('path' = ..) and INSERT INTO",
	"CACHE": "write CREATE TABLE .. AS SELECT", "UNCACHE": "nothing is cached", "CLEAR": "nothing is cached",
	"COPY": "write CREATE TABLE .. WITH ('path' = ..) and INSERT INTO", "MAP": "there are no scripts in queries", "REDUCE": "there are no scripts in queries",
	"COMMENT": "comments stand in CREATE", "COMMIT": "a statement is a transaction of its own", "ROLLBACK": "a statement is a transaction of its own",
	"LOCK": "readers and writers do not block each other", "UNLOCK": "readers and writers do not block each other",
}

// withStatement reads WITH .. and the query or INSERT that it belongs to.
func (p *parser) withStatement() ast.Stmt {
	q := &ast.Query{Pos: p.expect("WITH")}
	q.With = p.with(q.Pos)
	if !p.at("INSERT") {
		return &ast.QueryStmt{Pos: q.Pos, Query: p.queryBody(q)}
	}
	n := p.insert()
	if n.Query.With == nil {
		n.Query.With = q.With
		return n
	}
	n.Query = &ast.Query{Pos: n.Query.Pos, With: q.With, Body: n.Query}
	return n
}

// insert reads INSERT INTO [TABLE] t [(cols)] query.
func (p *parser) insert() *ast.Insert {
	n := &ast.Insert{Pos: p.expect("INSERT")}
	if p.expectOne("INTO", "OVERWRITE") == "OVERWRITE" {
		n.Overwrite = true
		p.accept("INTO")
	}
	p.accept("TABLE")
	n.Table = p.name("the name of the table to write")
	if p.tok().is("(") && !startsQuery(p.peek(1)) && !p.peek(1).is("(") {
		p.advance()
		n.Columns = p.identList("a column name")
		p.expect(")")
	}
	n.Query = p.query()
	return n
}

// insertBlock reads BEGIN insert; insert; END.
func (p *parser) insertBlock() []*ast.Insert {
	p.expect("BEGIN")
	if p.accept("STATEMENT", "SET") {
		p.expect(";")
	}
	var out []*ast.Insert
	for !p.at("END") {
		out = append(out, p.insert())
		if !p.at("END") {
			p.expect(";")
		}
	}
	if len(out) == 0 {
		p.fail("INSERT")
	}
	p.expect("END")
	return out
}

func (p *parser) drop() ast.Stmt {
	pos := p.expect("DROP")
	if p.accept("STREAMING", "QUERY") {
		c := &ast.ControlStreamingQuery{Pos: pos, Action: "DROP", IfExists: p.accept("IF", "EXISTS")}
		c.Name = p.name("the name of a streaming query")
		return c
	}
	if p.accept("SAVEPOINT") {
		return p.dropSavepoint(pos)
	}
	d := &ast.Drop{Pos: pos}
	p.acceptOne("TEMPORARY", "TEMP")
	if p.accept("MATERIALIZED") {
		p.expect("VIEW")
		d.Kind = "MATERIALIZED VIEW"
	} else {
		d.Kind = p.expectOne("TABLE", "VIEW", "FUNCTION", "VARIABLE", "SCHEMA", "DATABASE", "STREAMING QUERY", "MATERIALIZED VIEW")
	}
	if d.Kind == "DATABASE" {
		d.Kind = "SCHEMA"
	}
	d.IfExists = p.accept("IF", "EXISTS")
	d.Name = p.name("a name")
	d.Cascade = p.acceptOne("CASCADE", "RESTRICT") == "CASCADE"
	return d
}

// alterRelation reads ALTER TABLE|VIEW name RENAME TO new and ALTER VIEW name AS
// query; other changes are refused with what to do instead.
func (p *parser) alterRelation() ast.Stmt {
	a := &ast.AlterRelation{Pos: p.expect("ALTER"), Kind: p.expectOne("TABLE", "VIEW")}
	a.Name = p.name("a name")
	switch {
	case p.accept("RENAME", "TO"):
		n := p.name("the new name")
		a.Rename = &n
	case a.Kind == "VIEW" && (p.at("SELECT", "WITH", "VALUES", "FROM", "TABLE", "(") || p.accept("AS")):
		a.Query = p.query()
	default:
		p.failf(p.pos(), "ALTER %s changes a name alone (RENAME TO); declare what is to change by CREATE OR REPLACE %s", a.Kind, a.Kind)
	}
	return a
}

func (p *parser) control() ast.Stmt {
	c := &ast.ControlStreamingQuery{Pos: p.pos(), Action: p.expectOne("STOP", "START")}
	p.expect("STREAMING")
	p.expect("QUERY")
	c.IfExists = p.accept("IF", "EXISTS")
	c.Name = p.name("the name of a streaming query")
	if c.Action == "START" {
		c.Bootstrap = p.accept("WITH", "BOOTSTRAP")
	}
	return c
}

func (p *parser) show() ast.Stmt {
	s := &ast.Show{Pos: p.expect("SHOW")}
	named := func(what string) ast.Stmt {
		s.What = what
		n := p.name("a name")
		s.Name = &n
		return s
	}
	switch {
	case p.accept("STREAMING", "QUERIES"):
		s.What = "STREAMING QUERIES"
	case p.accept("MATERIALIZED", "VIEWS"):
		s.What = "MATERIALIZED VIEWS"
	case p.accept("CREATE", "TABLE"):
		return named("CREATE TABLE")
	case p.accept("CREATE", "MATERIALIZED", "VIEW"), p.accept("CREATE", "VIEW"):
		return named("CREATE VIEW")
	case p.accept("CREATE", "STREAMING", "QUERY"):
		return named("CREATE STREAMING QUERY")
	case p.accept("COLUMNS"):
		p.expectOne("FROM", "IN")
		return named("COLUMNS")
	case p.accept("VERSIONS"):
		p.expect("FOR")
		return named("VERSIONS")
	case p.accept("SAVEPOINTS"):
		p.expectOne("FOR", "OF")
		return named("SAVEPOINTS")
	case p.accept("ALL", "SETTINGS"), p.accept("ALL"), p.accept("SETTINGS"):
		s.What = "SETTINGS"
	default:
		s.What = p.expectOne("TABLES", "VIEWS", "STREAMING QUERIES", "MATERIALIZED VIEWS", "FUNCTIONS", "CREATE TABLE", "COLUMNS",
			"VERSIONS", "SAVEPOINTS", "SETTINGS", "SCHEMAS", "DATABASES", "CATALOGS")
		if s.What == "DATABASES" {
			s.What = "SCHEMAS"
		}
	}
	if p.acceptOne("FROM", "IN") != "" {
		n := p.name("a name")
		s.Name = &n
	}
	if p.accept("LIKE") || p.tok().kind == tokString {
		s.Like = p.str()
	}
	return s
}

func (p *parser) describe() ast.Stmt {
	d := &ast.Describe{Pos: p.pos(), What: "TABLE"}
	p.expectOne("DESCRIBE", "DESC")
	switch {
	case p.accept("FUNCTION"):
		d.What = "FUNCTION"
		d.Extended = p.acceptOne("EXTENDED") != ""
		n := p.functionName()
		d.Name = &n
		return d
	case p.accept("STREAMING", "QUERY"):
		d.What = "STREAMING QUERY"
	case p.accept("QUERY"):
		d.What = "QUERY"
		d.Query = p.query()
		return d
	case startsQuery(p.tok()) && !p.tok().is("TABLE"):
		d.What = "QUERY"
		d.Query = p.query()
		return d
	default:
		p.accept("TABLE")
	}
	if w := p.peek(1); w.kind == tokWord || w.kind == tokQuoted {
		d.Extended = p.acceptOne("EXTENDED", "FORMATTED") != ""
	}
	n := p.name("a name")
	d.Name = &n
	return d
}

// functionName reads the name of a function, which may be a reserved word or
// an operator.
func (p *parser) functionName() ast.Name {
	t := p.tok()
	if t.kind == tokOp && !t.is(";") || t.kind == tokString {
		p.advance()
		return ast.Name{Pos: t.pos, Parts: []ast.Ident{{Pos: t.pos, Name: t.text, Quoted: true}}}
	}
	return ast.Name{Pos: t.pos, Parts: []ast.Ident{p.anyIdent("the name of a function")}}
}

// set reads SET, SET key, SET key = value and SET TIME ZONE. A bare key may
// hold dots and hyphens, a bare value anything up to the semicolon.
func (p *parser) set() ast.Stmt {
	s := &ast.Set{Pos: p.expect("SET")}
	if p.tok().is("TIME") && p.peek(1).is("ZONE") {
		return p.setTimeZone(s.Pos)
	}
	if p.atEnd() {
		return s
	}
	if p.tok().kind == tokString || p.tok().kind == tokQuoted {
		s.Key = p.advance().text
	} else {
		from := p.tok().pos.Offset
		for !p.atEnd() && !p.tok().is("=") {
			if t := p.tok(); t.kind != tokWord && !t.is(".") && !t.is("-") && t.kind != tokNumber {
				p.fail("the key of a setting", "=")
			}
			p.advance()
		}
		if p.toks[p.i-1].is("SET") {
			p.fail("the key of a setting")
		}
		s.Key = p.text[from:p.toks[p.i-1].end]
		if strings.ContainsAny(s.Key, " \t\r\n") {
			p.failf(p.toks[p.i-1].pos, "expected =, found %s", describe(&p.toks[p.i-1]))
		}
	}
	if !p.accept("=") {
		if !p.atEnd() {
			p.fail("=")
		}
		return s
	}
	s.HasValue = true
	s.ValuePos = p.peek(0).pos
	s.Value = p.rawValue()
	return s
}

// atEnd says whether the statement ends here, without complaint about what is
// no token.
func (p *parser) atEnd() bool {
	t := p.peek(0)
	return t.kind == tokEOF || t.is(";")
}

// rawValue reads a string, or the text as it stands up to the semicolon.
func (p *parser) rawValue() string {
	if p.peek(0).kind == tokString {
		v := p.str()
		if !p.atEnd() {
			p.fail(";")
		}
		return v
	}
	from := p.peek(0).pos.Offset
	to := from
	for !p.atEnd() {
		t := p.peek(0)
		if t.kind == tokIllegal && t.open {
			p.tok()
		}
		to = t.end
		p.i++
	}
	if from == to {
		p.fail("a value")
	}
	return p.text[from:to]
}

func (p *parser) setTimeZone(pos ast.Pos) ast.Stmt {
	p.expect("TIME")
	p.expect("ZONE")
	s := &ast.SetTimeZone{Pos: pos, ZonePos: p.pos()}
	if p.accept("LOCAL") {
		s.Zone = "LOCAL"
		return s
	}
	s.Zone = p.str()
	return s
}

func (p *parser) reset() ast.Stmt {
	r := &ast.Reset{Pos: p.expect("RESET")}
	if p.atEnd() {
		return r
	}
	if p.tok().kind == tokString || p.tok().kind == tokQuoted {
		r.Key = p.advance().text
		return r
	}
	from := p.tok().pos.Offset
	for !p.atEnd() {
		if t := p.tok(); t.kind != tokWord && !t.is(".") && !t.is("-") && t.kind != tokNumber {
			p.fail("the key of a setting")
		}
		p.advance()
	}
	r.Key = p.text[from:p.toks[p.i-1].end]
	return r
}

var explainModes = []string{"ANALYZE", "LOGICAL", "PHYSICAL", "EXTENDED", "FORMATTED", "VERBOSE", "STATE", "COST"}

func (p *parser) explain() ast.Stmt {
	e := &ast.Explain{Pos: p.expect("EXPLAIN")}
	switch {
	case p.tok().is("WATERMARK"):
		p.advance()
		n := p.name("the name of a streaming query")
		e.Mode, e.Name = "WATERMARK", &n
		return e
	case p.tok().is("BATCH"):
		p.advance()
		n := p.name("the name of a streaming query")
		e.Mode, e.Name = "BATCH", &n
		e.Batch = int64(p.number("the number of a batch"))
		return e
	}
	if p.tok().is("(") && (p.peek(1).is("FORMAT") || slices.ContainsFunc(explainModes, func(m string) bool { return p.peek(1).is(m) })) {
		p.explainOptions(e)
	} else {
		e.Mode = p.acceptOne(explainModes...)
	}
	p.accept("PLAN")
	p.accept("FOR")
	if p.tok().kind == tokWord && !p.atStatement() {
		// EXPLAIN name explains a query that runs.
		n := p.name("a statement or the name of a streaming query")
		e.Name = &n
		return e
	}
	e.Stmt = p.statement()
	if _, ok := e.Stmt.(*ast.Explain); ok {
		p.failf(e.Stmt.Position(), "EXPLAIN cannot explain an EXPLAIN")
	}
	return e
}

// explainOptions reads the list behind EXPLAIN: one mode at most, and FORMAT TEXT
// or JSON.
func (p *parser) explainOptions(e *ast.Explain) {
	p.expect("(")
	for {
		switch {
		case p.accept("FORMAT"):
			switch p.acceptOne("TEXT", "JSON") {
			case "JSON":
				e.Format = "JSON"
			case "":
				p.fail("TEXT or JSON")
			}
		case e.Mode == "":
			if e.Mode = p.acceptOne(explainModes...); e.Mode == "" {
				p.fail("FORMAT or a mode of EXPLAIN")
			}
		default:
			p.fail("FORMAT")
		}
		if !p.accept(",") {
			break
		}
	}
	p.expect(")")
}

// atStatement says whether a statement starts here: a first word of one that
// is not alone.
func (p *parser) atStatement() bool {
	t := p.tok()
	if t.is("(") {
		return true
	}
	n := p.peek(1)
	if n.kind == tokEOF || n.is(";") || n.is(".") {
		return false
	}
	return true
}

func (p *parser) use() ast.Stmt {
	u := &ast.Use{Pos: p.expect("USE")}
	if n := p.peek(1); n.kind == tokWord || n.kind == tokQuoted {
		u.Kind = p.acceptOne("CATALOG", "SCHEMA", "DATABASE", "NAMESPACE")
	}
	u.Name = p.name("a name")
	return u
}

func (p *parser) refresh() ast.Stmt {
	r := &ast.Refresh{Pos: p.expect("REFRESH")}
	if p.tok().is("MATERIALIZED") && p.peek(1).is("VIEW") {
		p.accept("MATERIALIZED", "VIEW")
		r.Kind = "MATERIALIZED VIEW"
	} else if n := p.peek(1); n.kind == tokWord || n.kind == tokQuoted {
		r.Kind = p.acceptOne("TABLE")
	}
	r.Name = p.name("a name")
	return r
}
