package fuzz

import (
	"fmt"
	"slices"
	"strings"
)

// analytic makes columns of window functions over a scope. Where a function depends
// on the order of rows, that order is of all columns, so that equal rows alone are
// ties. It returns none where a column is inexact.
func (g *gen) analytic(sc []column, rows float64, nested bool) []column {
	if len(sc) == 0 || slices.ContainsFunc(sc, func(c column) bool { return c.approx }) {
		return nil
	}
	var out []column
	for range 1 + g.r.IntN(2) {
		n := g.windowCall(sc, rows+1)
		if n.approx && nested {
			continue
		}
		out = append(out, column{t: n.t, max: n.max, exact: n.exact, approx: n.approx, e: n})
	}
	return out
}

// windowCall makes one call. Its parts are texts, since there may be many.
func (g *gen) windowCall(sc []column, rows float64) *node {
	n := &node{t: typ{k: kI64}, max: rows, exact: true}
	c := pick(g, sc)
	set := func(call, duck, over, overDuck string) *node {
		n.s, n.d = fmt.Sprintf(call, over), fmt.Sprintf(duck, overDuck)
		return n
	}
	arg, argDuck := colNode(c).text(inSluice), colNode(c).text(inDuckDB)
	switch g.r.IntN(8) {
	case 0, 1:
		f := pick(g, []string{"row_number()", "rank()", "dense_rank()", "ntile(3)", "rank()"})
		s, d := g.over(sc, f == "row_number()" || f == "ntile(3)", "")
		return set("CAST("+f+" OVER %s AS BIGINT)", "CAST("+f+" OVER %s AS BIGINT)", s, d)
	case 2:
		n.t, n.approx = typ{k: kF64}, true
		f := pick(g, []string{"percent_rank()", "cume_dist()"})
		s, d := g.over(sc, false, "")
		return set(f+" OVER %s", f+" OVER %s", s, d)
	case 3:
		n.t, n.max, n.exact = c.t, c.max, c.exact
		f := pick(g, []string{"lag(", "lead("})
		by := pick(g, []string{")", ", 1)", ", 2)", ", 3)"})
		s, d := g.over(sc, true, "")
		return set(f+strings.ReplaceAll(arg, "%", "%%")+by+" OVER %s", f+strings.ReplaceAll(argDuck, "%", "%%")+by+" OVER %s", s, d)
	case 4:
		n.t, n.max, n.exact = c.t, c.max, c.exact
		f := pick(g, []string{"first_value(", "last_value(", "nth_value("})
		end := ")"
		if f == "nth_value(" {
			end = fmt.Sprintf(", %d)", 1+g.r.IntN(3))
		}
		s, d := g.over(sc, true, g.frame(true))
		return set(f+strings.ReplaceAll(arg, "%", "%%")+end+" OVER %s", f+strings.ReplaceAll(argDuck, "%", "%%")+end+" OVER %s", s, d)
	}
	return g.windowAggregate(sc, rows, c)
}

func (g *gen) windowAggregate(sc []column, rows float64, c column) *node {
	n := &node{t: typ{k: kI64}, max: rows, exact: true}
	total := g.one(2)
	frame := g.frame(total)
	over, overDuck := g.over(sc, total, frame)
	if g.one(4) {
		if o, d := g.rangeFrame(sc); o != "" {
			over, overDuck = o, d
		}
	}
	arg, duck := colNode(c).text(inSluice), colNode(c).text(inDuckDB)
	f := pick(g, []string{"count", "min", "max", "sum", "avg"})
	switch {
	case f == "sum" && c.t.isInt() && c.max*rows < 1e15:
		n.max = c.max * rows
		n.s, n.d = "CAST(sum("+arg+") OVER "+over+" AS BIGINT)", "CAST(sum("+duck+") OVER "+overDuck+" AS BIGINT)"
	case f == "avg" && c.t.isInt() && c.max < 1e6:
		n.t, n.approx = typ{k: kF64}, true
		n.s, n.d = "avg("+arg+") OVER "+over, "avg("+duck+") OVER "+overDuck
	case f == "min" || f == "max":
		n.t, n.max, n.exact = c.t, c.max, c.exact
		n.s, n.d = f+"("+arg+") OVER "+over, f+"("+duck+") OVER "+overDuck
	case g.one(2):
		n.s, n.d = "count(*) OVER "+over, "count(*) OVER "+overDuck
	default:
		n.s, n.d = "count("+arg+") OVER "+over, "count("+duck+") OVER "+overDuck
	}
	return n
}

// over writes a window. A total order is by all columns.
func (g *gen) over(sc []column, total bool, frame string) (s, d string) {
	var parts, orders [2][]string
	for range g.r.IntN(3) {
		e := colNode(pick(g, sc))
		parts[0], parts[1] = append(parts[0], e.text(inSluice)), append(parts[1], e.text(inDuckDB))
	}
	by := slices.Clone(sc)
	g.r.Shuffle(len(by), func(i, j int) { by[i], by[j] = by[j], by[i] })
	if !total {
		by = by[:1+g.r.IntN(min(2, len(by)))]
	}
	for _, c := range by {
		how := pick(g, []string{" ASC", " DESC"}) + pick(g, []string{" NULLS FIRST", " NULLS LAST"})
		e := colNode(c)
		orders[0], orders[1] = append(orders[0], e.text(inSluice)+how), append(orders[1], e.text(inDuckDB)+how)
	}
	write := func(i int) string {
		var b []string
		if len(parts[i]) > 0 {
			b = append(b, "PARTITION BY "+strings.Join(parts[i], ", "))
		}
		b = append(b, "ORDER BY "+strings.Join(orders[i], ", "))
		if frame != "" {
			b = append(b, frame)
		}
		return "(" + strings.Join(b, " ") + ")"
	}
	return write(0), write(1)
}

// frame writes a frame by rows, which needs a total order, or by groups of ties.
func (g *gen) frame(total bool) string {
	if g.one(3) {
		return ""
	}
	unit := "GROUPS"
	if total && !g.one(3) {
		unit = "ROWS"
	}
	from := pick(g, []string{"UNBOUNDED PRECEDING", "2 PRECEDING", "1 PRECEDING", "CURRENT ROW"})
	to := pick(g, []string{"CURRENT ROW", "1 FOLLOWING", "2 FOLLOWING", "UNBOUNDED FOLLOWING"})
	switch g.r.IntN(8) {
	case 0:
		from, to = "3 PRECEDING", "1 PRECEDING"
	case 1:
		from, to = "1 FOLLOWING", "2 FOLLOWING"
	}
	f := unit + " BETWEEN " + from + " AND " + to
	if total && g.one(5) {
		f += " EXCLUDE " + pick(g, []string{"CURRENT ROW", "GROUP", "TIES"})
	}
	return f
}

// rangeFrame writes a window whose frame goes by the values of a number.
func (g *gen) rangeFrame(sc []column) (s, d string) {
	i := slices.IndexFunc(sc, func(c column) bool { return c.t.isInt() && c.max > 0 && c.max < 2e4 && c.t.k != kI8 })
	if i < 0 {
		return "", ""
	}
	e, how := colNode(sc[i]), pick(g, []string{" ASC", " DESC"})+pick(g, []string{" NULLS FIRST", " NULLS LAST"})
	frame := " RANGE BETWEEN " + pick(g, []string{"UNBOUNDED PRECEDING", "2 PRECEDING", "CURRENT ROW"}) + " AND " + pick(g, []string{"CURRENT ROW", "3 FOLLOWING", "UNBOUNDED FOLLOWING"})
	return "(ORDER BY " + e.text(inSluice) + how + frame + ")", "(ORDER BY " + e.text(inDuckDB) + how + frame + ")"
}

// topRows is a table of which the first rows of each part are kept, by rank.
func (g *gen) topRows() source {
	inner, mid, alias := g.name("a"), g.name("a"), g.name("a")
	t := pick(g, g.tables)
	cols := qualify(inner, t.cols)
	in := &sel{from: &from{alias: inner, table: t.name}}
	for i, c := range cols {
		in.items = append(in.items, item{colNode(c), t.cols[i].name})
	}
	f := pick(g, []string{"row_number()", "row_number()", "rank()", "dense_rank()"})
	s, d := g.over(cols, f == "row_number()", "")
	in.items = append(in.items, item{&node{t: typ{k: kI64}, s: "CAST(" + f + " OVER " + s + " AS BIGINT)", d: "CAST(" + f + " OVER " + d + " AS BIGINT)"}, "rn"})
	all := append(slices.Clone(t.cols), column{name: "rn", t: typ{k: kI64}, max: 1e4, exact: true})
	outer := &sel{from: &from{alias: mid, sub: &query{sel: in, limit: -1}}}
	for _, c := range qualify(mid, all) {
		outer.items = append(outer.items, item{colNode(c), c.name})
	}
	bound := pick(g, []string{"<= 1", "<= 2", "<= 3", "= 1", "= 2", "< 4"})
	outer.where = &node{t: typ{k: kBool}, s: "(" + mid + ".rn " + bound + ")"}
	return source{&from{alias: alias, sub: &query{sel: outer, limit: -1}}, qualify(alias, all), float64(len(t.rows))}
}
