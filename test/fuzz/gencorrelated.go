package fuzz

import (
	"fmt"
	"slices"
	"strings"
)

// correlation finds a column of a table and one of an outer scope to be equal.
func (g *gen) correlation(inner source, outer []column) *node {
	var pairs [][2]column
	for _, o := range outer {
		if o.e != nil || o.approx || !strings.Contains(o.ref, ".") {
			continue
		}
		for _, c := range inner.cols {
			if c.t == o.t {
				pairs = append(pairs, [2]column{c, o})
			}
		}
	}
	if len(pairs) == 0 {
		return nil
	}
	p := pick(g, pairs)
	eq := &node{t: typ{k: kBool}, s: "($0 = $1)", args: []*node{colNode(p[0]), colNode(p[1])}}
	if g.one(6) {
		eq.s, eq.d = "($0 <=> $1)", "($0 IS NOT DISTINCT FROM $1)"
	}
	return eq
}

// plainTable is a table under an alias.
func (g *gen) plainTable() source {
	alias, t := g.name("a"), pick(g, g.tables)
	return source{&from{alias: alias, table: t.name}, qualify(alias, t.cols), float64(len(t.rows))}
}

// correlated makes a condition with a subquery that depends on the row outside; nil
// if nothing fits.
func (g *gen) correlated(outer []column) *node {
	in := g.plainTable()
	eq := g.correlation(in, outer)
	if eq == nil {
		return nil
	}
	where := eq
	if g.one(2) {
		where = and(where, g.expr(typ{k: kBool}, 1, in.cols))
	}
	q := &query{limit: -1, sel: &sel{from: in.f, where: where}}
	b := typ{k: kBool}
	switch g.r.IntN(5) {
	case 0, 1:
		q.sel.items = []item{{colNode(pick(g, in.cols)), g.name("o")}}
		return &node{t: b, s: pick(g, []string{"EXISTS ($q)", "(NOT EXISTS ($q))"}), query: q}
	case 2:
		c := pick(g, in.cols)
		q.sel.items = []item{{colNode(c), g.name("o")}}
		return &node{t: b, s: pick(g, []string{"($0 IN ($q))", "($0 NOT IN ($q))"}), args: []*node{g.expr(c.t, 1, outer)}, query: q}
	default:
		e := g.correlatedValue(q, in)
		return &node{t: b, s: pick(g, []string{"($0 = $1)", "($0 < $1)", "($0 >= $1)", "($1 IS NULL)"}), args: []*node{g.expr(e.t, 1, outer), e}}
	}
}

// correlatedValue makes a query with a condition one of a single value.
func (g *gen) correlatedValue(q *query, in source) *node {
	c := pick(g, in.cols)
	e := &node{t: c.t, s: pick(g, []string{"min($0)", "max($0)"}), args: []*node{colNode(c)}, max: c.max, exact: c.exact}
	if g.one(2) {
		e = &node{t: typ{k: kI64}, s: pick(g, []string{"count(*)", "count($0)", "count(DISTINCT $0)"}), args: []*node{colNode(c)}, max: in.rows + 1, exact: true}
	}
	q.sel.grouped = true
	q.sel.items = []item{{e, g.name("o")}}
	return &node{t: e.t, s: "($q)", query: q, max: e.max, exact: e.exact}
}

// scalarItem is a value of a correlated subquery for the list of a SELECT; nil if
// nothing fits.
func (g *gen) scalarItem(outer []column) *node {
	in := g.plainTable()
	eq := g.correlation(in, outer)
	if eq == nil {
		return nil
	}
	return g.correlatedValue(&query{limit: -1, sel: &sel{from: in.f, where: eq}}, in)
}

// lateral joins rows with a query that depends on them.
func (g *gen) lateral(l source) (source, bool) {
	in := g.plainTable()
	eq := g.correlation(in, l.cols)
	if eq == nil || (l.rows+1)*(in.rows+1) > rowsMax {
		return l, false
	}
	q := &query{limit: -1, sel: &sel{from: in.f, where: eq}}
	var cols []column
	for _, c := range in.cols[:1+g.r.IntN(len(in.cols))] {
		name := g.name("o")
		q.sel.items = append(q.sel.items, item{colNode(c), name})
		cols = append(cols, column{name: name, t: c.t, max: c.max, exact: c.exact})
	}
	if g.one(2) {
		for _, c := range cols {
			q.order = append(q.order, order{col: c.name, desc: g.one(2), last: g.one(2)})
		}
		q.limit = 1 + g.r.IntN(2)
	}
	alias := g.name("a")
	f := &from{kind: pick(g, []string{"CROSS", "LEFT"}), left: l.f, right: &from{alias: alias, sub: q, lateral: true}}
	if f.kind == "LEFT" {
		f.on = &node{t: typ{k: kBool}, s: "TRUE"}
	}
	return source{f: f, cols: append(slices.Clone(l.cols), qualify(alias, cols)...), rows: (l.rows + 1) * (in.rows + 1)}, true
}

// recursive makes a query that follows a few rounds of numbers through a table.
func (g *gen) recursive() cte {
	name, t := g.name("w"), pick(g, g.tables)
	all := pick(g, []string{"UNION", "UNION ALL"})
	if len(t.rows) > 20 {
		all = "UNION"
	}
	text := fmt.Sprintf("SELECT b.c0, 0 FROM %[1]s AS b WHERE b.c0 IS NOT NULL %[2]s SELECT CAST((r.n %% 5) + 1 AS INTEGER), r.k + 1 FROM %[3]s AS r JOIN %[1]s AS b ON b.c0 = r.n WHERE r.k < 2",
		t.name, all, name)
	g.ctes = append(g.ctes, &cteScope{name: name, rows: 200, cols: []column{
		{name: "n", t: typ{k: kI32}, max: 2147483647}, {name: "k", t: typ{k: kI32}, max: 3, exact: true},
	}})
	return cte{name: name, recursive: text}
}

// chain makes queries that read each other, three deep, and one on top of them.
func (g *gen) chain() (*query, []column) {
	var with []cte
	mark := len(g.ctes)
	for range 3 {
		name := g.name("w")
		sub, cols := g.query(0, nil, true)
		with = append(with, cte{name: name, q: sub})
		g.ctes = append(g.ctes[:mark:mark], &cteScope{name: name, cols: cols, rows: 300})
	}
	q, cols := g.query(1, nil, false)
	g.ctes = g.ctes[:mark]
	q.with = append(with, q.with...)
	return q, cols
}

// views are the parts of a query in front of it as statements, and what is left of
// the query. Nothing is split off where a part is recursive.
func (q *query) views() (ddl []string, rest *query) {
	for _, c := range q.with {
		if c.recursive != "" {
			return nil, q
		}
		ddl = append(ddl, "CREATE OR REPLACE VIEW "+c.name+" AS "+c.q.text(inSluice))
	}
	rest = q.clone()
	rest.with = nil
	return ddl, rest
}
