package fuzz

import (
	"fmt"
	"slices"
	"strings"
)

// rowsMax bounds what a FROM may give, as an estimate.
const rowsMax = 20000

// source is what a FROM offers.
type source struct {
	f    *from
	cols []column
	rows float64
}

// query makes a query and the columns of its result. types, if given, are those
// of its columns; nested says that another query reads it.
func (g *gen) query(depth int, types []typ, nested bool) (*query, []column) {
	q := &query{limit: -1}
	ctes := len(g.ctes)
	if depth > 1 && g.one(5) && !g.off["cte"] {
		name := g.name("w")
		sub, cols := g.query(depth-1, nil, true)
		q.with = append(q.with, cte{name: name, q: sub})
		g.ctes = append(g.ctes, &cteScope{name: name, cols: cols, rows: 500})
	}
	if depth > 0 && g.one(10) && !g.off["recursive"] {
		q.with = append(q.with, g.recursive())
	}
	defer func() { g.ctes = g.ctes[:ctes] }()
	var cols []column
	q.sel, cols = g.sel(depth, types, nested)
	approx := slices.ContainsFunc(cols, func(c column) bool { return c.approx })
	if !approx && depth > 0 && g.one(6) && !g.off["sets"] {
		types = nil
		for _, c := range cols {
			types = append(types, c.t)
		}
		for range 1 + g.r.IntN(2) {
			op := pick(g, []string{"UNION ALL", "UNION ALL", "UNION", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL"})
			if len(q.sets) > 0 {
				op = q.sets[0].op // they bind differently, and parentheses would hide it
			}
			s, more := g.sel(depth-1, types, true)
			for i := range cols {
				cols[i].max = max(cols[i].max, more[i].max)
				cols[i].exact = cols[i].exact && more[i].exact
			}
			q.sets = append(q.sets, branch{op, s})
		}
	}
	if !approx && !nested && len(q.sets) == 0 && !q.sel.distinct && g.one(12) && !g.off["on"] {
		g.distinctOn(q, cols)
		return q, cols
	}
	limit := !approx && g.one(4) && !g.off["limit"]
	if limit || (!nested && !g.stream && g.one(3)) {
		for _, c := range cols {
			if !c.approx {
				q.order = append(q.order, order{col: c.name, desc: g.one(2), last: g.one(2)})
			}
		}
		g.r.Shuffle(len(q.order), func(i, j int) { q.order[i], q.order[j] = q.order[j], q.order[i] })
	}
	if limit {
		q.limit = pick(g, []int{0, 1, 3, 10, 100})
		q.offset = pick(g, []int{0, 0, 1, 5})
	}
	return q, cols
}

// distinctOn keeps a row for each of some columns: the first in an order of all.
func (g *gen) distinctOn(q *query, cols []column) {
	at := slices.IndexFunc(q.sel.items, func(it item) bool { return strings.Contains(it.e.text(inDuckDB), ".c") })
	if at < 0 {
		return // DuckDB refuses constants
	}
	q.sel.on = []int{at}
	for _, at := range append(slices.Clone(q.sel.on), indices(len(cols))...) {
		if !slices.ContainsFunc(q.order, func(o order) bool { return o.col == cols[at].name }) {
			q.order = append(q.order, order{col: cols[at].name, desc: g.one(2), last: g.one(2)})
		}
	}
}

func (g *gen) sel(depth int, types []typ, nested bool) (*sel, []column) {
	s := &sel{}
	src := g.from(depth)
	s.from = src.f
	sc := src.cols
	if g.one(2) {
		s.where = g.condition(depth, sc)
	}
	if !g.off["group"] && g.one(2) && (!g.stream || !nested || g.one(3)) {
		sc = g.group(s, src, nested)
	}
	if types == nil && s.grouped && g.one(2) {
		return s, g.everything(s, sc)
	}
	if !g.off["analytic"] && g.one(4) {
		sc = g.windows(s, sc, src.rows, nested)
	}
	if !g.off["subquery"] && !s.grouped && g.one(8) {
		if e := g.scalarItem(src.cols); e != nil {
			sc = append(slices.Clone(sc), column{t: e.t, max: e.max, exact: e.exact, e: e})
		}
	}
	if types == nil {
		for range 1 + g.r.IntN(4) {
			types = append(types, g.anyType(sc))
		}
	}
	var cols []column
	for i, t := range types {
		e := g.item(t, sc, nested || len(types) > i+1 && g.one(2))
		name := g.name("o")
		s.items = append(s.items, item{e, name})
		cols = append(cols, column{name: name, t: e.t, max: e.max, exact: e.exact, approx: e.approx})
	}
	if !s.grouped && !slices.ContainsFunc(cols, func(c column) bool { return c.approx }) {
		s.distinct = g.one(6)
	}
	return s, cols
}

// windows adds window functions to a scope, and may ask for some of their rows.
func (g *gen) windows(s *sel, sc []column, rows float64, nested bool) []column {
	more := g.analytic(sc, rows, nested)
	if len(more) == 0 {
		return sc
	}
	if g.one(3) && !more[0].approx {
		a := more[0]
		s.qualify = &node{t: typ{k: kBool}, s: pick(g, []string{"($0 = $1)", "($0 <= $1)", "($0 > $1)"}), args: []*node{colNode(a), g.literal(a.t)}}
		if a.t.k == kI64 {
			s.qualify.args[1] = g.cast(&node{t: typ{k: kI32}, s: pick(g, []string{"1", "2", "3"})}, a.t)
		}
	}
	// Each is there several times, so that it is likely to be selected.
	return append(append(append(slices.Clone(sc), more...), more...), more...)
}

// everything selects the keys and aggregates as they are.
func (g *gen) everything(s *sel, sc []column) []column {
	var cols []column
	for _, c := range sc {
		e, name := colNode(c), g.name("o")
		s.items = append(s.items, item{e, name})
		cols = append(cols, column{name: name, t: e.t, max: e.max, exact: e.exact, approx: e.approx})
	}
	return cols
}

// item makes a column of the result, which alone may be inexact.
func (g *gen) item(t typ, sc []column, plain bool) *node {
	if !plain && t.k == kF64 {
		for _, c := range sc {
			if c.approx && g.one(2) {
				return colNode(c)
			}
		}
	}
	return g.expr(t, g.depth, sc)
}

func (g *gen) condition(depth int, sc []column) *node {
	if g.one(5) && !g.off["subquery"] {
		if e := g.correlated(sc); e != nil {
			return e
		}
	}
	if depth > 0 && g.one(6) && !g.off["subquery"] {
		if g.one(3) {
			t := g.anyType(sc)
			q := g.scalar(t)
			p := pick(g, []string{"($0 = $1)", "($0 < $1)", "($0 >= $1)", "($0 <> $1)"})
			sub := &node{t: t, s: "($q)", query: q}
			return &node{t: typ{k: kBool}, s: p, args: []*node{g.expr(t, 1, sc), sub}}
		}
		if g.one(3) {
			q, _ := g.query(depth-1, nil, true)
			return &node{t: typ{k: kBool}, s: pick(g, []string{"EXISTS ($q)", "(NOT EXISTS ($q))"}), query: q}
		}
		t := g.anyType(sc)
		q, _ := g.query(depth-1, []typ{t}, true)
		return &node{t: typ{k: kBool}, s: pick(g, []string{"($0 IN ($q))", "($0 NOT IN ($q))"}), args: []*node{g.expr(t, 1, sc)}, query: q}
	}
	return g.expr(typ{k: kBool}, g.depth, sc)
}

// scalar makes a query of one row and one column.
func (g *gen) scalar(t typ) *query {
	src := g.leafSource(0)
	e := g.expr(t, 1, src.cols)
	s := &sel{from: src.f, grouped: true}
	s.items = []item{{&node{t: t, s: pick(g, []string{"min($0)", "max($0)"}), args: []*node{e}}, g.name("o")}}
	return &query{limit: -1, sel: s}
}

func (g *gen) leafSource(depth int) source {
	alias := g.name("a")
	if depth > 0 && g.one(5) && !g.off["derived"] {
		q, cols := g.query(depth-1, nil, true)
		return source{&from{alias: alias, sub: q}, qualify(alias, cols), 500}
	}
	if len(g.ctes) > 0 && g.one(2) {
		c := pick(g, g.ctes)
		return source{&from{alias: alias, table: c.name}, qualify(alias, c.cols), c.rows}
	}
	if g.one(10) && !g.off["top"] {
		return g.topRows()
	}
	t := pick(g, g.tables)
	if g.stream && !g.one(4) {
		t = g.tables[0]
	}
	cols := slices.Clone(t.cols)
	f := &from{alias: alias, table: t.name}
	rows := float64(len(t.rows))
	if (g.one(6) || g.stream && g.one(2)) && !g.off["window"] {
		slide := pick(g, []int{10, 60, 300, 3600})
		w := &window{table: t.name, ts: "c2", size: slide, slide: slide}
		if g.one(2) {
			w.size = slide * pick(g, []int{2, 3})
			if g.one(4) {
				w.size -= slide / 2
			}
		}
		f.table, f.win = "", w
		rows *= 3
		for _, n := range []string{"window_start", "window_end", "window_time"} {
			cols = append(cols, column{name: n, t: typ{k: kTs}})
		}
	}
	return source{f, qualify(alias, cols), rows}
}

// static is the table of a group of streams that is read whole.
func (g *gen) static() source {
	alias, t := g.name("a"), g.tables[1]
	return source{&from{alias: alias, table: t.name}, qualify(alias, t.cols), float64(len(t.rows))}
}

func qualify(alias string, cols []column) []column {
	out := slices.Clone(cols)
	for i := range out {
		out[i].ref = alias + "." + out[i].name
		out[i].e = nil
	}
	return out
}

func (g *gen) from(depth int) source {
	src := g.leafSource(depth)
	for range 2 {
		if g.off["join"] || !g.one(3) {
			continue
		}
		if g.one(6) && !g.off["lateral"] {
			src, _ = g.lateral(src)
			continue
		}
		right := g.leafSource(depth)
		if g.stream && len(g.tables) > 1 && g.tables[1].static && g.one(2) {
			right = g.static()
		}
		if (src.rows+1)*(right.rows+1) > rowsMax {
			continue
		}
		src = g.join(src, right)
		if len(src.f.using) > 0 {
			break // a further join could make the column ambiguous
		}
	}
	return src
}

func (g *gen) join(l, r source) source {
	kind := pick(g, []string{"INNER", "INNER", "LEFT", "RIGHT", "FULL", "CROSS", "SEMI", "ANTI"})
	f := &from{kind: kind, left: l.f, right: r.f}
	out := source{f: f, cols: append(slices.Clone(l.cols), r.cols...), rows: (l.rows + 1) * (r.rows + 1)}
	both := slices.Clone(out.cols)
	if kind == "SEMI" || kind == "ANTI" {
		out.cols, out.rows = l.cols, l.rows
	}
	if kind == "CROSS" {
		return out
	}
	if l.f.table != "" && r.f.table != "" && strings.HasPrefix(l.f.table, "t") && strings.HasPrefix(r.f.table, "t") && g.one(4) {
		f.using = []string{"c0"}
		if g.one(3) {
			f.using = append(f.using, "c1")
		}
		var cols []column
		for _, c := range out.cols {
			if slices.Contains(f.using, c.name) {
				if slices.ContainsFunc(cols, func(o column) bool { return o.ref == c.name }) {
					continue
				}
				c.ref = c.name
			}
			cols = append(cols, c)
		}
		out.cols = cols
		return out
	}
	f.on = g.on(kind, l, r, both)
	return out
}

// on makes a join's condition: equalities as a rule, sometimes with more.
func (g *gen) on(kind string, l, r source, both []column) *node {
	var on *node
	for range 1 + g.r.IntN(2) {
		a := pick(g, l.cols)
		i := slices.IndexFunc(r.cols, func(c column) bool { return c.t == a.t && !c.approx })
		if i < 0 || a.approx {
			continue
		}
		x, y := colNode(a), colNode(r.cols[i])
		if g.one(4) {
			x = g.expr(a.t, 1, l.cols)
		}
		eq := &node{t: typ{k: kBool}, s: "($0 = $1)", args: []*node{x, y}}
		if g.one(8) {
			eq.s, eq.d = "($0 <=> $1)", "($0 IS NOT DISTINCT FROM $1)"
		}
		on = and(on, eq)
	}
	if on == nil || g.one(4) {
		on = and(on, g.expr(typ{k: kBool}, 2, both))
	}
	return on
}

func and(a, b *node) *node {
	if a == nil {
		return b
	}
	return &node{t: typ{k: kBool}, s: "($0 AND $1)", args: []*node{a, b}}
}

// group makes a SELECT aggregate and returns the columns that items may use.
func (g *gen) group(s *sel, src source, nested bool) []column {
	s.grouped = true
	var cols []column
	seen := map[string]bool{}
	from := make([]column, g.r.IntN(4))
	for i := range from {
		from[i] = pick(g, src.cols)
	}
	if src.f.win != nil && !g.one(3) {
		from = append(src.cols[len(src.cols)-3:len(src.cols)-1:len(src.cols)-1], from...)
	}
	for _, c := range from {
		if c.approx {
			continue
		}
		k := colNode(c)
		if g.one(4) && c.name != "window_start" && c.name != "window_end" {
			if e := g.expr(g.anyType(src.cols), 2, src.cols); readsColumn(e) {
				k = e
			}
		}
		if text := k.text(inSluice); !seen[text] {
			seen[text] = true
			s.keys = append(s.keys, k)
			cols = append(cols, column{t: k.t, max: k.max, exact: k.exact, e: k})
		}
	}
	if len(s.keys) > 0 && g.one(4) && !g.off["grouping"] {
		s.grouping = pick(g, []string{"ROLLUP", "CUBE", "SETS"})
		if s.grouping == "SETS" {
			for range 1 + g.r.IntN(3) {
				var set []int
				for i := range s.keys {
					if g.one(2) {
						set = append(set, i)
					}
				}
				s.sets = append(s.sets, set)
			}
			// A key of no set is not in the result's shape.
			s.sets = append(s.sets, indices(len(s.keys)))
		}
	}
	if s.grouping != "" && g.one(2) {
		k := pick(g, s.keys)
		cols = append(cols, column{t: typ{k: kI64}, max: 1, exact: true, e: &node{t: typ{k: kI64}, s: "CAST(grouping($0) AS BIGINT)", args: []*node{k.clone()}, max: 1}})
	}
	for range 1 + g.r.IntN(3) {
		if a := g.aggregate(src, nested); a != nil {
			cols = append(cols, column{t: a.t, max: a.max, exact: a.exact, approx: a.approx, e: a})
		}
	}
	if g.one(4) {
		s.having = g.expr(typ{k: kBool}, 2, cols)
	}
	if len(s.keys) == 0 {
		// Without an aggregate it would not be an aggregation.
		n := &node{t: typ{k: kI64}, s: "count(*)", max: 1e6}
		cols = append(cols, column{t: n.t, max: n.max, e: n})
		s.having = and(s.having, &node{t: typ{k: kBool}, s: "(count(*) >= 0)"})
	}
	return cols
}

func indices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func readsColumn(e *node) bool {
	return strings.Contains(e.text(inSluice), "a") && len(e.args) > 0 && slices.ContainsFunc(e.args, func(a *node) bool {
		return strings.Contains(a.s, ".c") || strings.Contains(a.s, ".o") || readsColumn(a)
	})
}

func (g *gen) aggregate(src source, nested bool) *node {
	sc := src.cols
	arg := func(t typ) *node { return g.expr(t, 1, sc) }
	rows := src.rows + 1
	n := &node{t: typ{k: kI64}, max: rows, exact: true}
	switch g.r.IntN(14) {
	case 13:
		n.t, n.max, n.args = typ{k: kStr}, 0, []*node{arg(typ{k: kStr})}
		list, sorted := "collect_list($0)", "list($0)"
		if g.one(2) {
			list, sorted = "collect_set($0)", "list(DISTINCT $0)"
		}
		n.s = "left(array_join(sort_array(" + list + "), ','), 50)"
		n.d = "left(coalesce(array_to_string(list_sort(" + sorted + " FILTER (WHERE $0 IS NOT NULL)), ','), ''), 50)"
		return n
	case 0:
		n.s = "count(*)"
	case 1:
		n.s, n.args = "count($0)", []*node{arg(g.anyType(sc))}
	case 2:
		n.s, n.args = "count(DISTINCT $0)", []*node{arg(g.anyType(sc))}
	case 3, 4:
		t := g.anyType(sc)
		a := arg(t)
		n.t, n.max, n.exact, n.args = t, a.max, a.exact, []*node{a}
		n.s = pick(g, []string{"min($0)", "max($0)"})
	case 5, 6:
		a := arg(typ{k: pick(g, []kind{kI8, kI16, kI32, kI64})})
		if a.max*rows > 1e15 {
			a = &node{t: a.t, s: "($0 % CAST(100 AS " + a.t.name(inSluice) + "))", d: "($0 % CAST(100 AS " + a.t.name(inDuckDB) + "))", args: []*node{a}, max: 100}
		}
		n.max, n.args = a.max*rows, []*node{a}
		n.s = pick(g, []string{"sum($0)", "sum(DISTINCT $0)"})
		n.d = "CAST(" + n.s + " AS BIGINT)"
	case 7:
		a := arg(typ{k: kF64})
		n.t, n.args, n.max, n.exact = typ{k: kF64}, []*node{a}, a.max*rows, a.exact && a.max*rows < 1e12
		n.s, n.approx = "sum($0)", !n.exact
	case 8:
		a := arg(typ{k: pick(g, []kind{kI32, kF64, kI8})})
		n.t, n.args, n.approx = typ{k: kF64}, []*node{a}, true
		n.s = pick(g, []string{"avg($0)", "avg($0)", "stddev($0)", "var_pop($0)", "median($0)", "avg(DISTINCT $0)"})
	case 9:
		n.t, n.args = typ{k: kBool}, []*node{arg(typ{k: kBool})}
		n.s = pick(g, []string{"bool_and($0)", "bool_or($0)"})
	case 10:
		n.s, n.args = "count_if($0)", []*node{arg(typ{k: kBool})}
		n.d = "CAST(coalesce(count_if($0), 0) AS BIGINT)"
	case 11:
		n.args, n.max = []*node{arg(typ{k: kI64})}, 9.3e18
		n.s = pick(g, []string{"bit_and($0)", "bit_or($0)", "bit_xor($0)"})
	default:
		i := slices.IndexFunc(sc, func(c column) bool { return c.t.k == kDec && c.t.p <= 28 })
		if i < 0 {
			n.s = "count(*)"
			break
		}
		n.t = typ{k: kDec, p: sc[i].t.p + 10, s: sc[i].t.s}
		n.args = []*node{colNode(sc[i])}
		n.s = "sum($0)"
		n.d = "CAST(sum($0) AS " + n.t.name(inDuckDB) + ")"
	}
	if n.approx && nested {
		return nil
	}
	if g.one(6) && !g.off["filter"] {
		filter(n, arg(typ{k: kBool}))
	}
	return n
}

// filter adds a FILTER to an aggregate, in DuckDB's text inside of what is around it.
func filter(n, cond *node) {
	f := fmt.Sprintf(" FILTER (WHERE $%d)", len(n.args))
	n.args = append(n.args, cond)
	if n.d != "" {
		n.d = strings.Replace(n.d, n.s, n.s+f, 1)
	}
	n.s += f
}
