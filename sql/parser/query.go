package parser

import "github.com/sluice-stream/sluice/sql/ast"

// query reads WITH .., a body, ORDER BY, LIMIT and OFFSET.
func (p *parser) query() *ast.Query {
	p.enter()
	defer p.leave()
	q := &ast.Query{Pos: p.pos()}
	if p.accept("WITH") {
		q.With = p.with(q.Pos)
	}
	return p.queryBody(q)
}

// queryBody reads what follows WITH.
func (p *parser) queryBody(q *ast.Query) *ast.Query {
	q.Body = p.setOps(0)
	p.queryTail(q)
	if p.tok().is("|>") {
		return p.pipes(q)
	}
	// A query in parentheses that nothing was added to is the query itself.
	if inner, ok := q.Body.(*ast.Query); ok && q.With == nil && q.OrderBy == nil && q.Limit == nil && q.Offset == nil {
		return inner
	}
	return q
}

func (p *parser) with(pos ast.Pos) *ast.With {
	w := &ast.With{Pos: pos, Recursive: p.accept("RECURSIVE")}
	for {
		c := ast.CTE{Pos: p.pos(), Name: p.ident("a name for the common table expression")}
		if p.accept("(") {
			c.Columns = p.identList("a column name")
			p.expect(")")
		}
		if p.accept("MAX", "RECURSION", "LEVEL") {
			c.MaxLevel = p.exprAt(precBitOr)
		}
		p.accept("AS")
		// Whether a query is computed once is the planner's business.
		if !p.accept("NOT", "MATERIALIZED") {
			p.accept("MATERIALIZED")
		}
		p.expect("(")
		c.Query = p.query()
		p.expect(")")
		w.CTEs = append(w.CTEs, c)
		if !p.accept(",") {
			return w
		}
	}
}

// queryTail reads what follows the body. LIMIT and OFFSET come in any order,
// and FETCH FIRST n ROWS ONLY is a LIMIT.
func (p *parser) queryTail(q *ast.Query) {
	if p.accept("ORDER", "BY") {
		q.OrderBy = p.orderItems()
	} else {
		p.hiveOrder(q)
	}
	for {
		switch {
		case q.Limit == nil && p.accept("LIMIT"):
			if p.tok().is("ALL") {
				p.advance()
				break
			}
			q.Limit = p.expr()
			if p.tok().is(",") {
				p.failf(p.pos(), "LIMIT takes one number; write LIMIT n OFFSET m")
			}
		case q.Offset == nil && p.accept("OFFSET"):
			q.Offset = p.expr()
			p.acceptOne("ROW", "ROWS")
		case q.Limit == nil && p.accept("FETCH"):
			p.expectOne("FIRST", "NEXT")
			q.Limit = p.expr()
			p.expectOne("ROW", "ROWS")
			p.expect("ONLY")
		default:
			return
		}
	}
}

// hiveOrder reads DISTRIBUTE BY, which says where rows go and changes none, SORT BY
// and CLUSTER BY. Those order the rows of each task, and so does an order of all.
func (p *parser) hiveOrder(q *ast.Query) {
	if p.accept("DISTRIBUTE", "BY") {
		p.exprList()
	}
	switch {
	case p.accept("SORT", "BY"):
		q.OrderBy = p.orderItems()
	case p.accept("CLUSTER", "BY"):
		for _, x := range p.exprList() {
			q.OrderBy = append(q.OrderBy, ast.OrderItem{Expr: x})
		}
	}
}

// setOps reads a chain of set operations. INTERSECT (level 1) binds tighter
// than UNION and EXCEPT (level 0).
func (p *parser) setOps(level int) ast.QueryBody {
	next := func() ast.QueryBody {
		if level == 0 {
			return p.setOps(1)
		}
		return p.queryPrimary()
	}
	left := next()
	for links := 0; ; p.link(&links) {
		pos := p.pos()
		op := ""
		if level == 0 {
			op = p.acceptOne("UNION", "EXCEPT", "MINUS")
		} else {
			op = p.acceptOne("INTERSECT")
		}
		if op == "" {
			return left
		}
		if op == "MINUS" {
			op = "EXCEPT"
		}
		all := p.acceptOne("ALL", "DISTINCT") == "ALL"
		byName := op == "UNION" && p.accept("BY", "NAME")
		left = &ast.SetOp{Pos: pos, Op: op, All: all, ByName: byName, L: left, R: next()}
	}
}

// queryPrimary reads SELECT, VALUES, TABLE t or (query).
func (p *parser) queryPrimary() ast.QueryBody {
	switch pos := p.pos(); {
	case p.at("SELECT"):
		return p.selectBlock()
	case p.at("FROM"):
		return p.fromFirst()
	case p.at("VALUES"):
		v := p.values()
		if a := p.tableAlias(); a != nil { // VALUES (1) AS t(a) is a table with a name
			a.Input = &ast.Derived{Pos: pos, Query: &ast.Query{Pos: pos, Body: v}}
			return &ast.Select{Pos: pos, Items: []ast.SelectItem{{Expr: &ast.Star{Pos: pos}}}, From: []ast.Table{a}}
		}
		return v
	case p.accept("TABLE"):
		return &ast.TableBody{Pos: pos, Name: p.name("a table name")}
	case p.accept("("):
		q := p.query()
		p.expect(")")
		return q
	}
	p.fail("SELECT", "VALUES", "TABLE", "(")
	return nil
}

// fromFirst reads FROM t SELECT .., and FROM t alone, which is SELECT * FROM t.
func (p *parser) fromFirst() ast.QueryBody {
	pos := p.expect("FROM")
	from := p.from()
	if !p.at("SELECT") {
		s := &ast.Select{Pos: pos, Items: []ast.SelectItem{{Expr: &ast.Star{Pos: pos}}}, From: from}
		if p.accept("WHERE") {
			s.Where = p.expr()
		}
		return s
	}
	s := p.selectBlock()
	if s.From != nil {
		p.failf(s.From[0].Position(), "the query has two FROM, the first one at %s", pos.LineCol())
	}
	s.From = from
	return s
}

// values reads rows; VALUES 1, 2 are rows of one column, as in Spark.
func (p *parser) values() ast.QueryBody {
	v := &ast.Values{Pos: p.expect("VALUES")}
	for {
		at := p.pos()
		var row []ast.Expr
		if x := p.expr(); p.toks[p.i-1].is(")") && isRow(x, at) {
			row = x.(*ast.Row).Items
		} else {
			row = []ast.Expr{x}
		}
		if len(v.Rows) > 0 && len(row) != len(v.Rows[0]) {
			p.failf(at, "this row has %d values, the first one has %d", len(row), len(v.Rows[0]))
		}
		v.Rows = append(v.Rows, row)
		if !p.accept(",") {
			return v
		}
	}
}

func isRow(x ast.Expr, at ast.Pos) bool {
	r, ok := x.(*ast.Row)
	return ok && r.Pos == at
}

func (p *parser) selectBlock() *ast.Select {
	s := &ast.Select{Pos: p.expect("SELECT")}
	s.StateTTL = p.stateTTLs(s.Pos)
	if p.tok().is("DISTINCT") && p.peek(1).is("ON") && p.peek(2).is("(") {
		p.accept("DISTINCT", "ON", "(")
		s.DistinctOn = p.exprList()
		p.expect(")")
	} else if p.accept("DISTINCT") {
		s.Distinct = true
	} else if p.tok().is("ALL") {
		p.advance()
	}
	s.Items = p.selectItems()
	if p.accept("FROM") {
		s.From = p.from()
	}
	if p.accept("WHERE") {
		s.Where = p.expr()
	}
	if p.at("GROUP") {
		s.GroupBy = p.groupBy()
	}
	if p.accept("HAVING") {
		s.Having = p.expr()
	}
	p.windowAndQualify(s)
	return s
}

// from reads the list of tables. A LATERAL VIEW sees all that stands before
// it, so the list up to there becomes one cross join below it.
func (p *parser) from() []ast.Table {
	out := []ast.Table{p.joins()}
	for links := 0; ; p.link(&links) {
		switch {
		case p.accept(","):
			out = append(out, p.joins())
		case p.tok().is("LATERAL") && p.peek(1).is("VIEW"):
			in := out[0]
			for _, t := range out[1:] {
				in = &ast.Join{Pos: t.Position(), Kind: ast.CrossJoin, L: in, R: t}
			}
			out = []ast.Table{p.joinsFrom(p.lateralView(in))}
		default:
			return out
		}
	}
}

func (p *parser) windowAndQualify(s *ast.Select) {
	for {
		switch {
		case s.Windows == nil && p.tok().is("WINDOW") && p.peek(2).is("AS"):
			p.advance()
			for {
				w := ast.NamedWindow{Name: p.ident("a window's name")}
				p.expect("AS")
				w.Spec = p.windowSpec()
				s.Windows = append(s.Windows, w)
				if !p.accept(",") {
					break
				}
			}
		case s.Qualify == nil && p.accept("QUALIFY"):
			s.Qualify = p.expr()
		default:
			return
		}
	}
}

func (p *parser) selectItems() []ast.SelectItem {
	out := []ast.SelectItem{p.selectItem()}
	for p.accept(",") {
		if p.at("FROM") {
			p.failf(p.pos(), "expected an expression, found FROM; the comma before it is one too many")
		}
		out = append(out, p.selectItem())
	}
	return out
}

// selectItem reads an expression with its name; generators may have several.
func (p *parser) selectItem() ast.SelectItem {
	it := ast.SelectItem{Expr: p.expr()}
	if p.accept("AS") {
		if p.accept("(") {
			it.Aliases = p.identList("a column name")
			p.expect(")")
			return it
		}
		id := p.aliasAfterAs()
		it.Alias = &id
		return it
	}
	if id := p.bareAlias(); id != nil {
		it.Alias = id
	}
	return it
}

// endsItem says whether a token can stand behind an item of a select list alone, so
// that even a reserved word before it is a name.
func (p *parser) endsItem(t *token) bool {
	return t.kind == tokEOF || t.is(",") || t.is(")") || t.is(";") || t.is("FROM") || t.is("|>")
}

// aliasAfterAs reads the name behind AS, where nothing but a name can stand: in
// quotes of any kind, as other dialects write it, or a word such as NULL.
func (p *parser) aliasAfterAs() ast.Ident {
	t := p.tok()
	switch {
	case t.kind == tokString && t.text != "":
		p.advance()
		return ast.Ident{Pos: t.pos, Name: t.text, Quoted: true}
	case t.is("TRUE"), t.is("FALSE"), t.is("NULL"):
		return p.anyIdent("a name after AS")
	case t.kind == tokWord && reserved[t.word] && !t.is("FROM") && p.endsItem(p.peek(1)):
		id := p.anyIdent("a name after AS")
		id.Quoted = true
		return id
	}
	return p.ident("a name after AS")
}

// bareAlias reads a name without AS, if one is there.
func (p *parser) bareAlias() *ast.Ident {
	t := p.tok()
	if t.kind == tokQuoted || t.kind == tokWord && !reserved[t.word] && !p.startsClause(t) {
		id := p.anyIdent("a name")
		return &id
	}
	return nil
}

// startsClause says whether a word that could be an alias starts the next
// clause instead.
func (p *parser) startsClause(t *token) bool {
	if !notAlias[t.word] {
		return false
	}
	next := p.peek(1)
	switch t.word {
	case "TIMESTAMP", "VERSION", "SYSTEM_VERSION", "SYSTEM_TIME":
		return next.is("AS") && p.peek(2).is("OF")
	case "WINDOW":
		return p.peek(2).is("AS")
	case "EMIT":
		return next.kind == tokWord
	case "CLUSTER", "DISTRIBUTE", "SORT":
		return next.is("BY")
	case "SEMI", "ANTI":
		return next.is("JOIN")
	case "WITHIN":
		return next.is("GROUP")
	}
	return true
}

// groupBy reads GROUP BY in all its forms, Spark's trailing WITH ROLLUP among
// them.
func (p *parser) groupBy() *ast.GroupBy {
	g := &ast.GroupBy{Pos: p.expect("GROUP")}
	p.expect("BY")
	if p.tok().is("ALL") {
		p.advance()
		g.All = true
		return g
	}
	g.Items = p.groupItems()
	switch pos := p.pos(); {
	case p.tok().is("WITH") && (p.peek(1).is("ROLLUP") || p.peek(1).is("CUBE")):
		p.advance()
		kind := ast.GroupRollup
		if p.expectOne("ROLLUP", "CUBE") == "CUBE" {
			kind = ast.GroupCube
		}
		it := ast.GroupItem{Pos: pos, Kind: kind}
		for _, x := range g.Items {
			if x.Kind != ast.GroupExpr {
				p.failf(x.Pos, "WITH ROLLUP and WITH CUBE take plain expressions")
			}
			it.Sets = append(it.Sets, []ast.Expr{x.Expr})
		}
		g.Items = []ast.GroupItem{it}
	case p.tok().is("GROUPING") && p.peek(1).is("SETS"):
		// GROUP BY a, b GROUPING SETS ((a), (b)): the list before only names columns.
		for _, x := range g.Items {
			if x.Kind != ast.GroupExpr {
				p.failf(x.Pos, "the list before GROUPING SETS takes plain expressions")
			}
			g.Keys = append(g.Keys, x.Expr)
		}
		g.Items = []ast.GroupItem{p.groupItem(false)}
	}
	return g
}

func (p *parser) groupItems() []ast.GroupItem {
	out := []ast.GroupItem{p.groupItem(false)}
	for p.accept(",") {
		out = append(out, p.groupItem(false))
	}
	return out
}

// groupItem reads one item; inside GROUPING SETS a parenthesis is a set.
func (p *parser) groupItem(inSets bool) ast.GroupItem {
	p.enter()
	defer p.leave()
	it := ast.GroupItem{Pos: p.pos()}
	switch {
	case p.accept("GROUPING", "SETS"):
		it.Kind = ast.GroupSets
		p.expect("(")
		it.Items = []ast.GroupItem{p.groupItem(true)}
		for p.accept(",") {
			it.Items = append(it.Items, p.groupItem(true))
		}
		p.expect(")")
	case p.at("ROLLUP", "CUBE") && p.peek(1).is("("):
		it.Kind = ast.GroupRollup
		if p.advance().word == "CUBE" {
			it.Kind = ast.GroupCube
		}
		p.expect("(")
		it.Sets = [][]ast.Expr{p.groupSet()}
		for p.accept(",") {
			it.Sets = append(it.Sets, p.groupSet())
		}
		p.expect(")")
	case inSets:
		it.Kind = ast.GroupSet
		it.Sets = [][]ast.Expr{p.groupSet()}
	case p.accept("(", ")"):
		it.Kind = ast.GroupSet
		it.Sets = [][]ast.Expr{nil}
	default:
		it.Expr = p.expr()
	}
	return it
}

// groupSet reads a, (a, b) or ().
func (p *parser) groupSet() []ast.Expr {
	if p.accept("(", ")") {
		return nil
	}
	pos := p.pos()
	x := p.expr()
	if isRow(x, pos) {
		return x.(*ast.Row).Items
	}
	return []ast.Expr{x}
}
