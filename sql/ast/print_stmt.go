package ast

import "strconv"

// flag writes words if on.
func (p *printer) flag(on bool, words string) {
	if on {
		p.w(words)
	}
}

func (p *printer) options(opts []Option) {
	for i, o := range opts {
		p.w([]string{" WITH (", ", "}[min(i, 1)], Quote(o.Key), " = ", Quote(o.Value))
	}
	p.flag(len(opts) > 0, ")")
}

func (p *printer) comment(s string) {
	if s != "" {
		p.w(" COMMENT ", Quote(s))
	}
}

// stmt prints a statement.
func (p *printer) stmt(s Stmt) {
	switch s := s.(type) {
	case *QueryStmt:
		p.query(s.Query)
	case *CreateTable:
		p.createTable(s)
	case *CreateView:
		p.createView(s)
	case *CreateStreamingQuery:
		p.w("CREATE ")
		p.flag(s.OrReplace, "OR REPLACE ")
		p.w("STREAMING QUERY ")
		p.flag(s.IfNotExists, "IF NOT EXISTS ")
		p.name(s.Name)
		p.clauses(&s.Clauses)
		p.flag(s.Bootstrap, " WITH BOOTSTRAP")
		p.w(" AS ")
		p.inserts(s.Inserts)
	case *AlterStreamingQuery:
		p.alterQuery(s)
	case *ControlStreamingQuery:
		p.w(s.Action, " STREAMING QUERY ")
		p.flag(s.IfExists, "IF EXISTS ")
		p.name(s.Name)
		p.flag(s.Bootstrap, " WITH BOOTSTRAP")
	case *SaveStreamingQuery:
		p.saveQuery(s)
	case *Insert:
		p.insert(s)
	case *StatementSet:
		p.insertBlock(s.Inserts)
	case *CreateSchema:
		p.w("CREATE SCHEMA ")
		p.flag(s.IfNotExists, "IF NOT EXISTS ")
		p.name(s.Name)
		p.comment(s.Comment)
	case *Drop:
		p.w("DROP ", s.Kind, " ")
		p.flag(s.IfExists, "IF EXISTS ")
		p.name(s.Name)
		p.flag(s.Cascade, " CASCADE")
	default:
		if !p.definition(s) {
			p.command(s)
		}
	}
}

// command prints the statements that look or set.
func (p *printer) command(s Stmt) {
	switch s := s.(type) {
	case *Show:
		p.show(s)
	case *Describe:
		p.describe(s)
	case *Set:
		p.w("SET")
		if s.Key != "" || s.HasValue {
			p.w(" ", Quote(s.Key))
		}
		if s.HasValue {
			p.w(" = ", Quote(s.Value))
		}
	case *SetTimeZone:
		p.w("SET TIME ZONE ")
		if s.Zone == "LOCAL" {
			p.w("LOCAL")
		} else {
			p.w(Quote(s.Zone))
		}
	case *Reset:
		p.w("RESET")
		if s.Key != "" {
			p.w(" ", Quote(s.Key))
		}
	case *Explain:
		p.explain(s)
	case *AlterRelation:
		p.w("ALTER ", s.Kind, " ")
		p.name(s.Name)
		if s.Rename != nil {
			p.w(" RENAME TO ")
			p.name(*s.Rename)
		} else {
			p.w(" AS ")
			p.query(s.Query)
		}
	case *Use:
		p.w("USE ")
		p.flag(s.Kind != "", s.Kind+" ")
		p.name(s.Name)
	case *Refresh:
		p.w("REFRESH ")
		p.flag(s.Kind != "", s.Kind+" ")
		p.name(s.Name)
	case *ReplayQuarantine:
		p.w("REPLAY QUARANTINE FOR ")
		p.name(s.Name)
		if s.Where != nil {
			p.w(" WHERE ")
			p.expr(s.Where)
		}
	}
}

func (p *printer) createTable(s *CreateTable) {
	p.w("CREATE ")
	p.flag(s.OrReplace, "OR REPLACE ")
	p.flag(s.Temporary, "TEMPORARY ")
	p.w("TABLE ")
	p.flag(s.IfNotExists, "IF NOT EXISTS ")
	p.name(s.Name)
	sep := " ("
	for _, c := range s.Columns {
		p.w(sep)
		p.column(&c)
		sep = ", "
	}
	if s.Watermark != nil {
		p.w(sep, "WATERMARK FOR ")
		p.name(s.Watermark.Column)
		p.w(" AS ")
		p.expr(s.Watermark.Expr)
		sep = ", "
	}
	if s.PrimaryKey != nil {
		p.w(sep, "PRIMARY KEY ")
		p.columns(s.PrimaryKey)
		p.flag(s.NotEnforced, " NOT ENFORCED")
		sep = ", "
	}
	p.flag(sep == ", ", ")")
	p.comment(s.Comment)
	if s.PartitionBy != nil {
		p.w(" PARTITIONED BY ")
		p.columns(s.PartitionBy)
	}
	if s.Using != "" {
		p.w(" USING ", QuoteName(s.Using))
	}
	p.options(s.Options)
	if s.Like != nil {
		p.w(" LIKE ")
		p.name(*s.Like)
		for i, o := range s.LikeOptions {
			p.w([]string{" (", " "}[min(i, 1)], o)
		}
		p.flag(len(s.LikeOptions) > 0, ")")
	}
	if s.Query != nil {
		p.w(" AS ")
		p.query(s.Query)
	}
}

func (p *printer) column(c *ColumnDef) {
	p.ident(c.Name)
	if c.Type != nil {
		p.w(" ")
		p.typ(c.Type)
	}
	switch {
	case c.Computed != nil && c.Type != nil:
		p.w(" GENERATED ALWAYS AS (")
		p.expr(c.Computed)
		p.w(")")
	case c.Computed != nil:
		p.w(" AS ")
		p.expr(c.Computed)
	}
	p.flag(c.NotNull, " NOT NULL")
	if m := c.Metadata; m != nil {
		p.w(" METADATA")
		if m.Key != "" {
			p.w(" FROM ", Quote(m.Key))
		}
		p.flag(m.Virtual, " VIRTUAL")
	}
	if c.Default != nil {
		p.w(" DEFAULT ")
		p.expr(c.Default)
	}
	p.comment(c.Comment)
}

func (p *printer) createView(s *CreateView) {
	p.w("CREATE ")
	p.flag(s.OrReplace, "OR REPLACE ")
	p.flag(s.Temporary, "TEMPORARY ")
	p.flag(s.Materialized, "MATERIALIZED ")
	p.w("VIEW ")
	p.flag(s.IfNotExists, "IF NOT EXISTS ")
	p.name(s.Name)
	for i, c := range s.Columns {
		p.w([]string{" (", ", "}[min(i, 1)])
		p.ident(c.Name)
		p.comment(c.Comment)
	}
	p.flag(len(s.Columns) > 0, ")")
	p.comment(s.Comment)
	p.options(s.Options)
	p.w(" AS ")
	p.query(s.Query)
}

func (p *printer) clauses(c *StreamingClauses) {
	if t := c.Trigger; t != nil {
		p.w(" TRIGGER ", t.Kind)
		if t.Kind == "EVERY" || t.Kind == "CRON" || t.Kind == "LATENCY" {
			p.w(" ", Quote(t.Value))
		}
	}
	if c.OutputMode != "" {
		p.w(" OUTPUT MODE ", c.OutputMode)
	}
	if c.Checkpoint != "" {
		p.w(" CHECKPOINT ", Quote(c.Checkpoint))
	}
	if f := c.From; f != nil {
		p.w(" FROM CHECKPOINT ", Quote(f.Dir))
		if f.Name != "" {
			p.w(" SAVEPOINT ", Quote(f.Name))
		}
	}
	if l := c.Late; l != nil {
		p.w(" LATE ", l.Kind)
		if l.Into != nil {
			p.w(" ")
			p.name(*l.Into)
		}
		if l.Until != nil {
			p.w(" UNTIL ")
			p.expr(l.Until)
		}
	}
	if e := c.Emit; e != nil {
		p.emit(e)
	}
	if c.Parallelism > 0 {
		p.w(" PARALLELISM ", strconv.Itoa(c.Parallelism))
	}
	p.options(c.Options)
}

func (p *printer) emit(e *Emit) {
	if e.Kind == "ROWS" {
		p.w(" EMIT AFTER ")
		p.expr(e.Every)
		p.w(" ROWS")
		return
	}
	p.w(" EMIT ", e.Kind)
	if e.Every != nil {
		p.w(" ")
		p.expr(e.Every)
	}
}

func (p *printer) alterQuery(s *AlterStreamingQuery) {
	p.w("ALTER STREAMING QUERY ")
	p.name(s.Name)
	if s.Rename != nil {
		p.w(" RENAME TO ")
		p.name(*s.Rename)
		return
	}
	c := s.Clauses
	opts := c.Options
	c.Options = nil
	var inner printer
	inner.clauses(&c)
	if inner.b.Len() > 0 {
		p.w(" SET", inner.b.String())
		p.options(opts)
	} else if opts != nil {
		p.w(" SET")
		p.options(opts)
	}
	p.flag(s.Bootstrap, " WITH BOOTSTRAP")
	if s.Inserts != nil {
		p.w(" AS ")
		p.inserts(s.Inserts)
	}
}

func (p *printer) saveQuery(s *SaveStreamingQuery) {
	if s.Drop {
		p.w("DROP SAVEPOINT ")
		p.flag(s.IfExists, "IF EXISTS ")
		p.w(Quote(s.Savepoint), " FOR ")
		p.name(s.Name)
		return
	}
	p.w("SAVE STREAMING QUERY ")
	p.name(s.Name)
	p.w(" AS ", Quote(s.Savepoint))
}

func (p *printer) inserts(ins []*Insert) {
	if len(ins) == 1 {
		p.insert(ins[0])
		return
	}
	p.insertBlock(ins)
}

func (p *printer) insertBlock(ins []*Insert) {
	p.w("BEGIN ")
	for _, in := range ins {
		p.insert(in)
		p.w("; ")
	}
	p.w("END")
}

func (p *printer) insert(in *Insert) {
	p.w("INSERT ", []string{"INTO ", "OVERWRITE "}[b2i(in.Overwrite)])
	p.name(in.Table)
	p.w(" ")
	if in.Columns != nil {
		p.columns(in.Columns)
		p.w(" ")
	}
	p.query(in.Query)
}

func (p *printer) show(s *Show) {
	p.w("SHOW ", s.What)
	if s.Name != nil {
		switch s.What {
		case "VERSIONS", "SAVEPOINTS":
			p.w(" FOR ")
		case "CREATE TABLE", "CREATE VIEW", "CREATE STREAMING QUERY":
			p.w(" ")
		default:
			p.w(" FROM ")
		}
		p.name(*s.Name)
	}
	if s.Like != "" {
		p.w(" LIKE ", Quote(s.Like))
	}
}

func (p *printer) describe(s *Describe) {
	p.w("DESCRIBE ", s.What, " ")
	p.flag(s.Extended, "EXTENDED ")
	if s.Query != nil {
		p.query(s.Query)
		return
	}
	p.name(*s.Name)
}

func (p *printer) explain(s *Explain) {
	p.w("EXPLAIN ")
	switch {
	case s.Format != "" && s.Mode != "":
		p.w("(", s.Mode, ", FORMAT ", s.Format, ") ")
	case s.Format != "":
		p.w("(FORMAT ", s.Format, ") ")
	}
	p.flag(s.Mode != "" && s.Format == "", s.Mode+" ")
	if s.Name != nil {
		p.name(*s.Name)
	} else {
		p.stmt(s.Stmt)
	}
	if s.Mode == "BATCH" {
		p.w(" ", strconv.FormatInt(s.Batch, 10))
	}
}
