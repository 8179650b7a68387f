package parser

import "github.com/sluice-stream/sluice/sql/ast"

// pipes reads |> operators behind a query. Each is the plain query that it stands
// for, with what comes before it in FROM, so that nothing behind the parser knows
// of pipes.
func (p *parser) pipes(q *ast.Query) *ast.Query {
	from := p.pipeSource(q)
	for links := 0; p.accept("|>"); p.link(&links) {
		p.enter()
		defer p.leave() // each operator is a level of the tree
		from = p.pipe(from)
	}
	out := p.piped(from)
	if out.With == nil {
		out.With = q.With
	}
	return out
}

// pipeSource makes a table of the query before the first operator. FROM t and TABLE
// t are the table itself, so that its name can be used behind them.
func (p *parser) pipeSource(q *ast.Query) ast.Table {
	plain := q.OrderBy == nil && q.Limit == nil && q.Offset == nil
	switch b := q.Body.(type) {
	case *ast.Select:
		if plain && isStar(b) {
			if len(b.From) == 1 {
				return b.From[0]
			}
		}
	case *ast.TableBody:
		if plain {
			return &ast.TableName{Pos: b.Pos, Name: b.Name}
		}
	}
	inner := *q
	inner.With = nil
	return &ast.Derived{Pos: q.Pos, Query: &inner}
}

// isStar says whether a SELECT is SELECT * FROM .. and nothing more.
func isStar(s *ast.Select) bool {
	if len(s.Items) != 1 || s.Items[0].Alias != nil || s.Distinct || s.DistinctOn != nil || s.Where != nil || s.GroupBy != nil || s.Having != nil ||
		s.Windows != nil || s.Qualify != nil {
		return false
	}
	star, ok := s.Items[0].Expr.(*ast.Star)
	return ok && star.Qualifier == nil && star.Except == nil && star.Fields == nil && star.Replace == nil && star.Rename == nil
}

// piped makes a query of a table.
func (p *parser) piped(t ast.Table) *ast.Query {
	if d, ok := t.(*ast.Derived); ok && !d.Lateral {
		return d.Query
	}
	pos := t.Position()
	return &ast.Query{Pos: pos, Body: &ast.Select{Pos: pos, Items: starItems(pos), From: []ast.Table{t}}}
}

func starItems(pos ast.Pos) []ast.SelectItem {
	return []ast.SelectItem{{Expr: &ast.Star{Pos: pos}}}
}

// over makes a table of a SELECT over one, perhaps with order and limits. Where the
// columns stay what they are, the name of the table stays, too.
func (p *parser) over(t ast.Table, s *ast.Select, set func(q *ast.Query)) ast.Table {
	q := &ast.Query{Pos: s.Pos, Body: s}
	if set != nil {
		set(q)
	}
	s.From = []ast.Table{t}
	d := &ast.Derived{Pos: s.Pos, Query: q}
	if !isStar(s) && s.Where == nil {
		return d
	}
	switch t := t.(type) {
	case *ast.TableName:
		last := t.Name.Parts[len(t.Name.Parts)-1]
		return &ast.Aliased{Pos: s.Pos, Input: d, Alias: last}
	case *ast.Aliased:
		return &ast.Aliased{Pos: s.Pos, Input: d, Alias: t.Alias}
	}
	return d
}

// pipe reads one operator over a table.
func (p *parser) pipe(t ast.Table) ast.Table {
	pos := p.pos()
	s := &ast.Select{Pos: pos, Items: starItems(pos)}
	switch {
	case p.at("SELECT"):
		s = p.selectBlock()
		if s.From != nil || s.Where != nil || s.GroupBy != nil || s.Having != nil {
			p.failf(pos, "|> SELECT takes a list of columns alone; filter by |> WHERE and group by |> AGGREGATE")
		}
		return p.over(t, s, nil)
	case p.accept("EXTEND"):
		s.Items = append(s.Items, p.selectItems()...)
		return p.over(t, s, nil)
	case p.accept("WHERE"):
		s.Where = p.expr()
		return p.over(t, s, nil)
	case p.accept("SET"):
		return p.pipeSet(t, pos)
	case p.accept("DROP"):
		s.Items[0].Expr.(*ast.Star).Except = p.identList("a column name")
		return p.over(t, s, nil)
	case p.accept("AS"):
		return &ast.Aliased{Pos: pos, Input: p.pipeInput(t), Alias: p.ident("a name")}
	case p.accept("AGGREGATE"):
		return p.pipeAggregate(t, s)
	case p.at("ORDER", "LIMIT", "OFFSET", "SORT", "CLUSTER", "DISTRIBUTE"):
		return p.over(t, s, p.queryTail)
	case p.at("UNION", "EXCEPT", "MINUS", "INTERSECT"):
		return p.pipeSetOp(t, pos)
	case p.at("TABLESAMPLE", "PIVOT", "UNPIVOT"):
		out := p.tableSuffixes(t)
		if a := p.tableAlias(); a != nil {
			a.Input = out
			return a
		}
		return out
	case p.tok().is("LATERAL") && p.peek(1).is("VIEW"):
		return p.lateralView(t)
	}
	if j := p.joinHead(); j != nil {
		j.L, j.R = p.pipeInput(t), p.tableFactor()
		p.joinCondition(j)
		return j
	}
	p.fail("SELECT", "EXTEND", "WHERE", "SET", "DROP", "AS", "AGGREGATE", "ORDER BY", "LIMIT", "JOIN", "UNION", "PIVOT")
	return nil
}

// pipeInput is a table that may stand before AS or JOIN.
func (p *parser) pipeInput(t ast.Table) ast.Table {
	if a, ok := t.(*ast.Aliased); ok && isAliasOf(a.Input) {
		return &ast.Derived{Pos: t.Position(), Query: p.piped(t)}
	}
	return t
}

func isAliasOf(t ast.Table) bool { _, ok := t.(*ast.Aliased); return ok }

// pipeSet reads SET a = x, b = y; one may use what those before it have set.
func (p *parser) pipeSet(t ast.Table, pos ast.Pos) ast.Table {
	for {
		id := p.ident("a column name")
		p.expect("=")
		s := &ast.Select{Pos: pos, Items: starItems(pos)}
		s.Items[0].Expr.(*ast.Star).Replace = []ast.SelectItem{{Expr: p.expr(), Alias: &id}}
		t = p.over(t, s, nil)
		if !p.accept(",") {
			return t
		}
		p.enter()
		defer p.leave()
	}
}

// pipeAggregate reads AGGREGATE [aggregates] [GROUP BY keys]. The keys come first
// in the result and may have names of their own.
func (p *parser) pipeAggregate(t ast.Table, s *ast.Select) ast.Table {
	var aggs, keys []ast.SelectItem
	if !p.at("GROUP") {
		aggs = p.selectItems()
	}
	if p.at("GROUP") {
		s.GroupBy = &ast.GroupBy{Pos: p.expect("GROUP")}
		p.expect("BY")
		for {
			at := p.pos()
			if it := p.groupItem(false); it.Kind != ast.GroupExpr {
				p.failf(at, "|> AGGREGATE groups by plain expressions")
			} else {
				if l, ok := it.Expr.(*ast.Literal); ok && l.Kind == ast.LitInt {
					p.failf(at, "|> AGGREGATE groups by expressions, not by positions")
				}
				key := ast.SelectItem{Expr: it.Expr}
				if p.accept("AS") {
					id := p.aliasAfterAs()
					key.Alias = &id
				} else {
					key.Alias = p.bareAlias()
				}
				keys = append(keys, key)
				s.GroupBy.Items = append(s.GroupBy.Items, it)
			}
			if !p.accept(",") {
				break
			}
		}
	}
	s.Items = append(keys, aggs...)
	if s.GroupBy == nil && len(aggs) == 0 {
		p.fail("an aggregate", "GROUP BY")
	}
	return p.over(t, s, nil)
}

// pipeSetOp reads a set operation with the query behind it.
func (p *parser) pipeSetOp(t ast.Table, pos ast.Pos) ast.Table {
	op := p.expectOne("UNION", "EXCEPT", "MINUS", "INTERSECT")
	if op == "MINUS" {
		op = "EXCEPT"
	}
	all := p.acceptOne("ALL", "DISTINCT") == "ALL"
	left := ast.QueryBody(p.piped(t))
	body := &ast.SetOp{Pos: pos, Op: op, All: all, L: left, R: p.queryPrimary()}
	return &ast.Derived{Pos: pos, Query: &ast.Query{Pos: pos, Body: body}}
}
