package parser

import "github.com/sluice-stream/sluice/sql/ast"

// pivot reads PIVOT (aggs FOR col|(cols) IN (values)).
func (p *parser) pivot(in ast.Table) ast.Table {
	n := &ast.Pivot{Pos: p.expect("PIVOT"), Input: in}
	p.expect("(")
	n.Aggs = p.selectItems()
	p.expect("FOR")
	if p.accept("(") {
		n.For = p.identList("a column name")
		p.expect(")")
	} else {
		n.For = []ast.Ident{p.ident("a column name")}
	}
	p.expect("IN")
	p.expect("(")
	for {
		v := ast.PivotValue{Expr: p.expr()}
		if p.accept("AS") {
			id := p.aliasAfterAs()
			v.Alias = &id
		} else {
			v.Alias = p.bareAlias()
		}
		n.Values = append(n.Values, v)
		if !p.accept(",") {
			break
		}
	}
	p.expect(")")
	p.expect(")")
	return n
}

// unpivot reads UNPIVOT [INCLUDE NULLS] (v FOR name IN (a [AS x], ..)).
func (p *parser) unpivot(in ast.Table) ast.Table {
	n := &ast.Unpivot{Pos: p.expect("UNPIVOT"), Input: in}
	if p.accept("INCLUDE", "NULLS") {
		n.IncludeNulls = true
	} else {
		p.accept("EXCLUDE", "NULLS")
	}
	p.expect("(")
	group := p.accept("(")
	n.Values = []ast.Ident{p.ident("a name for the values")}
	if group {
		for p.accept(",") {
			n.Values = append(n.Values, p.ident("a name for the values"))
		}
		p.expect(")")
	}
	p.expect("FOR")
	n.Name = p.ident("a name for the column of names")
	p.expect("IN")
	p.expect("(")
	for {
		var c ast.UnpivotColumn
		if p.accept("(") {
			for {
				c.Columns = append(c.Columns, p.name("a column name"))
				if !p.accept(",") {
					break
				}
			}
			p.expect(")")
		} else {
			c.Columns = []ast.Name{p.name("a column name")}
		}
		if len(c.Columns) != len(n.Values) {
			p.failf(c.Columns[0].Pos, "UNPIVOT makes %d values of each group, but %d columns are named", len(n.Values), len(c.Columns))
		}
		if p.accept("AS") {
			id := p.aliasAfterAs()
			c.Alias = &id
		} else {
			c.Alias = p.bareAlias()
		}
		n.Columns = append(n.Columns, c)
		if !p.accept(",") {
			break
		}
	}
	p.expect(")")
	p.expect(")")
	return n
}
