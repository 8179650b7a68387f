package ast

func (p *printer) query(q *Query) {
	if q.With != nil {
		p.w("WITH ")
		if q.With.Recursive {
			p.w("RECURSIVE ")
		}
		for i, c := range q.With.CTEs {
			if i > 0 {
				p.w(", ")
			}
			p.ident(c.Name)
			if c.Columns != nil {
				p.w("(")
				p.idents(c.Columns)
				p.w(")")
			}
			if c.MaxLevel != nil {
				p.w(" MAX RECURSION LEVEL ")
				p.expr(c.MaxLevel)
			}
			p.w(" AS (")
			p.query(c.Query)
			p.w(")")
		}
		p.w(" ")
	}
	p.body(q.Body)
	if q.OrderBy != nil {
		p.w(" ORDER BY ")
		p.orderItems(q.OrderBy)
	}
	if q.Limit != nil {
		p.w(" LIMIT ")
		p.expr(q.Limit)
	}
	if q.Offset != nil {
		p.w(" OFFSET ")
		p.expr(q.Offset)
	}
}

func (p *printer) body(b Node) {
	switch b := b.(type) {
	case *Query:
		p.w("(")
		p.query(b)
		p.w(")")
	case *Select:
		p.selectBlock(b)
	case *SetOp:
		p.body(b.L)
		p.w(" ", b.Op, " ")
		if b.All {
			p.w("ALL ")
		}
		if b.ByName {
			p.w("BY NAME ")
		}
		p.body(b.R)
	case *Values:
		p.w("VALUES ")
		for i, row := range b.Rows {
			if i > 0 {
				p.w(", ")
			}
			p.w("(")
			p.exprs(row)
			p.w(")")
		}
	case *TableBody:
		p.w("TABLE ")
		p.name(b.Name)
	}
}

func (p *printer) selectItems(items []SelectItem) {
	for i, it := range items {
		if i > 0 {
			p.w(", ")
		}
		p.expr(it.Expr)
		if it.Aliases != nil {
			p.w(" AS (")
			p.idents(it.Aliases)
			p.w(")")
		}
		p.alias(it.Alias)
	}
}

func (p *printer) alias(id *Ident) {
	if id != nil {
		p.w(" AS ")
		p.ident(*id)
	}
}

func (p *printer) selectBlock(s *Select) {
	p.w("SELECT ")
	for i, h := range s.StateTTL {
		p.w([]string{"/*+ STATE_TTL(", ", "}[min(i, 1)] + Quote(h.Table) + " = " + Quote(h.Time))
	}
	if len(s.StateTTL) > 0 {
		p.w(") */ ")
	}
	if s.Distinct {
		p.w("DISTINCT ")
	}
	if s.DistinctOn != nil {
		p.w("DISTINCT ON (")
		p.exprs(s.DistinctOn)
		p.w(") ")
	}
	p.selectItems(s.Items)
	for i, t := range s.From {
		p.w([]string{" FROM ", ", "}[min(i, 1)])
		p.table(t)
	}
	if s.Where != nil {
		p.w(" WHERE ")
		p.expr(s.Where)
	}
	if s.GroupBy != nil {
		p.groupBy(s.GroupBy)
	}
	if s.Having != nil {
		p.w(" HAVING ")
		p.expr(s.Having)
	}
	for i, w := range s.Windows {
		p.w([]string{" WINDOW ", ", "}[min(i, 1)])
		p.ident(w.Name)
		p.w(" AS ")
		p.window(w.Spec)
	}
	if s.Qualify != nil {
		p.w(" QUALIFY ")
		p.expr(s.Qualify)
	}
}

func (p *printer) groupBy(g *GroupBy) {
	p.w(" GROUP BY ")
	if g.All {
		p.w("ALL")
	}
	p.exprs(g.Keys)
	if g.Keys != nil {
		p.w(" ")
	}
	p.groupItems(g.Items)
}

func (p *printer) groupItems(items []GroupItem) {
	for i, it := range items {
		if i > 0 {
			p.w(", ")
		}
		switch it.Kind {
		case GroupExpr:
			p.expr(it.Expr)
		case GroupSet:
			p.groupSet(it.Sets[0], true)
		case GroupRollup, GroupCube:
			p.w([]string{"ROLLUP(", "CUBE("}[b2i(it.Kind == GroupCube)])
			for j, s := range it.Sets {
				if j > 0 {
					p.w(", ")
				}
				p.groupSet(s, false)
			}
			p.w(")")
		case GroupSets:
			p.w("GROUPING SETS (")
			p.groupItems(it.Items)
			p.w(")")
		}
	}
}

func (p *printer) groupSet(s []Expr, paren bool) {
	if len(s) == 1 && !paren {
		p.expr(s[0])
		return
	}
	p.w("(")
	p.exprs(s)
	p.w(")")
}

// table prints an item of FROM.
func (p *printer) table(t Table) {
	switch t := t.(type) {
	case *TableName:
		p.name(t.Name)
		if t.AsOf != nil {
			p.w(" FOR ", t.AsOf.Kind, " AS OF ")
			p.expr(t.AsOf.X)
		}
	case *PlanTable:
		p.w("(a DataFrame)")
	case *Derived:
		p.lateral(t.Lateral)
		p.w("(")
		p.query(t.Query)
		p.w(")")
	case *TableFunc:
		p.lateral(t.Lateral)
		p.call(t.Call)
		if t.Ordinality {
			p.w(" WITH ORDINALITY")
		}
	case *Aliased:
		p.grouped(t.Input, isAliased(t.Input))
		p.w(" AS ")
		p.ident(t.Alias)
		p.columns(t.Columns)
	case *Join:
		p.join(t)
	case *LateralView:
		p.table(t.Input)
		p.w(" LATERAL VIEW ")
		if t.Outer {
			p.w("OUTER ")
		}
		p.call(t.Call)
		if t.Alias.Name != "" {
			p.w(" ")
			p.ident(t.Alias)
		}
		if t.Columns != nil {
			p.w(" AS ")
			p.idents(t.Columns)
		}
	default:
		p.suffixed(t)
	}
}

// suffixed prints what hangs on one table.
func (p *printer) suffixed(t Table) {
	switch t := t.(type) {
	case *Sample:
		p.input(t.Input)
		p.w(" TABLESAMPLE (")
		if t.Unit == "BUCKET" {
			p.w("BUCKET ")
		}
		p.expr(t.Value)
		if t.Unit == "BUCKET" {
			p.w(" OUT OF ")
			p.expr(t.OutOf)
		} else {
			p.w(" ", t.Unit)
		}
		p.w(")")
		if t.Repeat != nil {
			p.w(" REPEATABLE (")
			p.expr(t.Repeat)
			p.w(")")
		}
	case *Pivot:
		p.pivot(t)
	case *Unpivot:
		p.unpivot(t)
	case *MatchRecognize:
		p.matchRecognize(t)
	}
}

func (p *printer) lateral(on bool) {
	if on {
		p.w("LATERAL ")
	}
}

func (p *printer) columns(ids []Ident) {
	if ids != nil {
		p.w("(")
		p.idents(ids)
		p.w(")")
	}
}

// grouped prints a table in parentheses if it is more than one, or if asked.
func (p *printer) grouped(t Table, paren bool) {
	switch t.(type) {
	case *Join, *LateralView:
		paren = true
	}
	if paren {
		p.w("(")
	}
	p.table(t)
	if paren {
		p.w(")")
	}
}

func isAliased(t Table) bool {
	_, ok := t.(*Aliased)
	return ok
}

// input prints the table a suffix hangs on. One alias may stand before the
// suffix without parentheses.
func (p *printer) input(t Table) {
	a, ok := t.(*Aliased)
	p.grouped(t, ok && aliasInside(a.Input))
}

// aliasInside says whether a table, below its suffixes, has an alias.
func aliasInside(t Table) bool {
	switch t := t.(type) {
	case *Aliased:
		return true
	case *Sample:
		return aliasInside(t.Input)
	case *Pivot:
		return aliasInside(t.Input)
	case *Unpivot:
		return aliasInside(t.Input)
	case *MatchRecognize:
		return aliasInside(t.Input)
	default:
		return false
	}
}

func (p *printer) join(j *Join) {
	p.table(j.L)
	p.w(" ")
	if j.Natural {
		p.w("NATURAL ")
	}
	if j.Asof {
		p.w("ASOF ")
	}
	p.w([]string{"", "LEFT ", "RIGHT ", "FULL ", "CROSS ", "LEFT SEMI ", "LEFT ANTI "}[j.Kind], "JOIN ")
	p.grouped(j.R, false)
	if j.Match != nil {
		p.w(" MATCH_CONDITION (")
		p.expr(j.Match)
		p.w(")")
	}
	if j.On != nil {
		p.w(" ON ")
		p.expr(j.On)
	}
	if j.Using != nil {
		p.w(" USING ")
		p.columns(j.Using)
	}
}
