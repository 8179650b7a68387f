package parser

import "github.com/sluice-stream/sluice/sql/ast"

// createQuery reads CREATE STREAMING QUERY from its name on.
func (p *parser) createQuery(q *ast.CreateStreamingQuery) ast.Stmt {
	q.IfNotExists = p.accept("IF", "NOT", "EXISTS")
	q.Name = p.name("a name for the streaming query")
	if p.accept("IF", "NOT", "EXISTS") {
		q.IfNotExists = true
	}
	p.streamingClauses(&q.Clauses)
	if q.Bootstrap = p.accept("WITH", "BOOTSTRAP"); q.Bootstrap {
		p.streamingClauses(&q.Clauses)
	}
	p.expect("AS")
	q.Inserts = p.inserts()
	return q
}

// inserts reads one INSERT or a block of them.
func (p *parser) inserts() []*ast.Insert {
	if p.at("BEGIN") {
		return p.insertBlock()
	}
	if p.tok().is("SELECT") || p.tok().is("WITH") {
		p.failf(p.pos(), "a streaming query writes somewhere: expected INSERT INTO or BEGIN, found %s", describe(p.tok()))
	}
	if !p.at("INSERT") {
		p.fail("INSERT", "BEGIN")
	}
	return []*ast.Insert{p.insert()}
}

// streamingClauses reads the clauses between the name and AS, in any order and
// each at most once.
func (p *parser) streamingClauses(c *ast.StreamingClauses) {
	for {
		pos := p.pos()
		switch {
		case p.accept("TRIGGER"):
			p.once(c.Trigger != nil, pos, "TRIGGER")
			c.Trigger = p.trigger(pos)
		case p.accept("OUTPUT", "MODE"):
			p.once(c.OutputMode != "", pos, "OUTPUT MODE")
			c.OutputModeAt = p.pos()
			c.OutputMode = p.expectOne("APPEND", "UPDATE", "COMPLETE", "CHANGELOG")
		case p.accept("CHECKPOINT"):
			p.once(c.Checkpoint != "", pos, "CHECKPOINT")
			c.CheckpointAt = p.pos()
			c.Checkpoint = p.str()
		case p.tok().is("FROM") && p.peek(1).is("CHECKPOINT"):
			p.once(c.From != nil, pos, "FROM CHECKPOINT")
			p.accept("FROM", "CHECKPOINT")
			c.From = &ast.FromCheckpoint{Pos: p.pos(), Dir: p.str()}
			if p.accept("SAVEPOINT") {
				c.From.Name = p.savepoint()
			}
		case p.accept("LATE"):
			p.once(c.Late != nil, pos, "LATE")
			c.Late = p.late(pos)
		case p.accept("EMIT"):
			p.once(c.Emit != nil, pos, "EMIT")
			c.Emit = p.emit(pos)
		case p.accept("PARALLELISM"):
			p.once(c.Parallelism != 0, pos, "PARALLELISM")
			c.ParallelismAt = p.pos()
			c.Parallelism = p.positive("how many tasks a stage has")
		case p.tok().is("WITH") && p.peek(1).is("("):
			p.advance()
			c.Options = p.options(c.Options)
		default:
			return
		}
	}
}

func (p *parser) once(had bool, pos ast.Pos, clause string) {
	if had {
		p.failf(pos, "%s is given twice", clause)
	}
}

func (p *parser) positive(what string) int {
	pos := p.pos()
	n := p.number(what)
	if n < 1 {
		p.failf(pos, "expected %s, at least 1, found %d", what, n)
	}
	return n
}

func (p *parser) trigger(pos ast.Pos) *ast.Trigger {
	t := &ast.Trigger{Pos: pos}
	if p.accept("AVAILABLE") {
		p.expect("NOW")
		t.Kind = "AVAILABLE NOW"
		return t
	}
	t.Kind = p.acceptOne("EVERY", "IMMEDIATE", "ONCE", "CRON", "LATENCY")
	switch t.Kind {
	case "":
		p.fail("EVERY", "IMMEDIATE", "AVAILABLE NOW", "ONCE", "CRON", "LATENCY")
	case "IMMEDIATE", "ONCE":
		return t
	}
	t.ValuePos = p.pos()
	t.Value = p.str()
	if t.Kind != "CRON" {
		a, err := ast.ParseInterval(t.Value)
		switch {
		case err != nil:
			p.failf(t.ValuePos, "%w", err)
		case a.YearMonth || a.Micros <= 0:
			p.failf(t.ValuePos, "TRIGGER %s needs a length of time above zero, found '%s'", t.Kind, t.Value)
		}
	}
	return t
}

// late reads DROP, INTO t or RESTATE UNTIL interval.
func (p *parser) late(pos ast.Pos) *ast.Late {
	l := &ast.Late{Pos: pos, Kind: p.expectOne("DROP", "INTO", "RESTATE")}
	switch l.Kind {
	case "INTO":
		n := p.name("the name of the table for late rows")
		l.Into = &n
	case "RESTATE":
		p.expect("UNTIL")
		l.Until = p.exprAt(precBitOr)
	}
	return l
}

func (p *parser) emit(pos ast.Pos) *ast.Emit {
	e := &ast.Emit{Pos: pos}
	switch {
	case p.accept("ON", "WINDOW", "CLOSE"), p.accept("AFTER", "WATERMARK"), p.accept("FINAL"):
		e.Kind = "ON WINDOW CLOSE"
	case p.accept("ON", "UPDATE"):
		e.Kind = "ON UPDATE"
	case p.accept("CHANGES"):
		e.Kind = "CHANGES"
	case p.accept("AFTER"):
		e.Kind = "ROWS"
		e.Every = p.exprAt(precBitOr)
		p.expect("ROWS")
	case p.accept("EVERY"):
		e.Kind = "EVERY"
		e.Every = p.exprAt(precBitOr)
		if p.accept("BEFORE") { // what comes out early is replaced when the window closes
			p.expect("WATERMARK")
		}
	default:
		p.fail("ON WINDOW CLOSE", "AFTER WATERMARK", "ON UPDATE", "CHANGES", "EVERY")
	}
	return e
}

// save reads SAVE STREAMING QUERY q AS 'name'.
func (p *parser) save() ast.Stmt {
	s := &ast.SaveStreamingQuery{Pos: p.expect("SAVE")}
	p.expect("STREAMING")
	p.expect("QUERY")
	s.Name = p.name("the name of a streaming query")
	p.expect("AS")
	s.NamePos = p.pos()
	s.Savepoint = p.savepoint()
	return s
}

// savepoint reads the name of a savepoint, as text or as a word.
func (p *parser) savepoint() string {
	if p.tok().kind == tokString {
		return p.str()
	}
	return p.anyIdent("a name for the savepoint").Name
}

// dropSavepoint reads [IF EXISTS] 'name' FOR q.
func (p *parser) dropSavepoint(pos ast.Pos) ast.Stmt {
	s := &ast.SaveStreamingQuery{Pos: pos, Drop: true, IfExists: p.accept("IF", "EXISTS")}
	s.NamePos = p.pos()
	s.Savepoint = p.savepoint()
	p.expectOne("FOR", "OF")
	s.Name = p.name("the name of a streaming query")
	return s
}

// alter reads ALTER STREAMING QUERY name and what shall change.
func (p *parser) alter() ast.Stmt {
	if n := p.peek(1); n.is("TABLE") || n.is("VIEW") {
		return p.alterRelation()
	}
	a := &ast.AlterStreamingQuery{Pos: p.expect("ALTER")}
	if !p.accept("STREAMING") {
		p.fail("TABLE", "VIEW", "STREAMING QUERY")
	}
	p.expect("QUERY")
	a.Name = p.name("the name of a streaming query")
	if p.accept("RENAME", "TO") {
		n := p.name("the new name")
		a.Rename = &n
		return a
	}
	if p.accept("SET") {
		if p.tok().is("(") {
			a.Clauses.Options = p.options(nil)
		} else {
			p.streamingClauses(&a.Clauses)
		}
	}
	a.Bootstrap = p.accept("WITH", "BOOTSTRAP")
	if p.accept("AS") {
		a.Inserts = p.inserts()
		a.Bootstrap = p.accept("WITH", "BOOTSTRAP") || a.Bootstrap
	}
	if p.toks[p.i-1].is("SET") || a.Inserts == nil && !a.Bootstrap && emptyClauses(&a.Clauses) {
		p.fail("SET", "AS", "WITH BOOTSTRAP", "RENAME TO")
	}
	return a
}

func emptyClauses(c *ast.StreamingClauses) bool {
	return c.Trigger == nil && c.OutputMode == "" && c.Checkpoint == "" && c.From == nil && c.Late == nil && c.Emit == nil &&
		c.Parallelism == 0 && len(c.Options) == 0
}
