package fuzz

import (
	"fmt"
	"slices"
	"strings"
)

// query is a SELECT with what surrounds it.
type query struct {
	with   []cte
	sel    *sel
	sets   []branch
	order  []order
	limit  int // -1: none
	offset int
}

type cte struct {
	name      string
	q         *query
	recursive string // the text of one that reads itself, the same in both dialects
}

// branch is a further operand of UNION, INTERSECT or EXCEPT.
type branch struct {
	op string
	s  *sel
}

// order names a column of the result.
type order struct {
	col  string
	desc bool
	last bool
}

type sel struct {
	distinct bool
	items    []item
	from     *from
	where    *node
	grouped  bool
	keys     []*node
	grouping string // "", ROLLUP, CUBE or SETS
	sets     [][]int
	having   *node
	qualify  *node
	on       []int // items of DISTINCT ON; the query orders by all, these first
}

type item struct {
	e    *node
	name string
}

// from is a table, a query, a window function over a table, or a join.
type from struct {
	alias   string
	table   string
	sub     *query
	win     *window
	lateral bool // the query reads the columns to its left

	kind        string // of a join: INNER, LEFT, ...
	left, right *from
	on          *node
	using       []string
}

// window is TUMBLE or HOP over a table, in seconds.
type window struct {
	table       string
	ts          string
	size, slide int
}

func (q *query) text(d dialect) string {
	if q == nil {
		return ""
	}
	var b strings.Builder
	for i, c := range q.with {
		b.WriteString([]string{", ", "WITH "}[btoi(i == 0)])
		if i == 0 && slices.ContainsFunc(q.with, func(c cte) bool { return c.recursive != "" }) {
			b.WriteString("RECURSIVE ")
		}
		if c.recursive != "" {
			fmt.Fprintf(&b, "%s(n, k) AS (%s)", c.name, c.recursive)
			continue
		}
		fmt.Fprintf(&b, "%s AS (%s)", c.name, c.q.text(d))
	}
	if len(q.with) > 0 {
		b.WriteByte(' ')
	}
	b.WriteString(q.sel.text(d))
	for _, s := range q.sets {
		fmt.Fprintf(&b, " %s %s", s.op, s.s.text(d))
	}
	for i, o := range q.order {
		b.WriteString([]string{", ", " ORDER BY "}[btoi(i == 0)])
		b.WriteString(o.col)
		if o.desc {
			b.WriteString(" DESC")
		}
		b.WriteString([]string{" NULLS FIRST", " NULLS LAST"}[btoi(o.last)])
	}
	if q.limit >= 0 {
		fmt.Fprintf(&b, " LIMIT %d", q.limit)
		if q.offset > 0 {
			fmt.Fprintf(&b, " OFFSET %d", q.offset)
		}
	}
	return b.String()
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (s *sel) text(d dialect) string {
	var b strings.Builder
	b.WriteString("SELECT ")
	if s.distinct {
		b.WriteString("DISTINCT ")
	}
	if len(s.on) > 0 {
		var keys []string
		for _, i := range s.on {
			if i < len(s.items) {
				keys = append(keys, s.items[i].e.text(d))
			}
		}
		b.WriteString("DISTINCT ON (" + strings.Join(keys, ", ") + ") ")
	}
	for i, it := range s.items {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(it.e.text(d))
		if it.name != "" {
			b.WriteString(" AS " + it.name)
		}
	}
	if s.from != nil {
		b.WriteString(" FROM " + s.from.text(d))
	}
	if s.where != nil {
		b.WriteString(" WHERE " + s.where.text(d))
	}
	if s.grouped && len(s.keys) > 0 {
		b.WriteString(" GROUP BY " + s.groupText(d))
	}
	if s.having != nil {
		b.WriteString(" HAVING " + s.having.text(d))
	}
	if s.qualify != nil {
		b.WriteString(" QUALIFY " + s.qualify.text(d))
	}
	return b.String()
}

func (s *sel) groupText(d dialect) string {
	keys := make([]string, len(s.keys))
	for i, k := range s.keys {
		keys[i] = k.text(d)
	}
	all := strings.Join(keys, ", ")
	switch s.grouping {
	case "ROLLUP", "CUBE":
		return s.grouping + "(" + all + ")"
	case "SETS":
		sets := make([]string, len(s.sets))
		for i, set := range s.sets {
			var in []string
			for _, k := range set {
				if k < len(keys) {
					in = append(in, keys[k])
				}
			}
			sets[i] = "(" + strings.Join(in, ", ") + ")"
		}
		return "GROUPING SETS (" + strings.Join(sets, ", ") + ")"
	}
	return all
}

func (f *from) text(d dialect) string {
	switch {
	case f.kind != "":
		return f.joinText(d)
	case f.lateral:
		return "LATERAL (" + f.sub.text(d) + ") AS " + f.alias
	case f.sub != nil:
		return "(" + f.sub.text(d) + ") AS " + f.alias
	case f.win != nil:
		return f.win.text(d) + " AS " + f.alias
	case f.table == f.alias:
		return f.table
	}
	return f.table + " AS " + f.alias
}

func (f *from) joinText(d dialect) string {
	kind := f.kind
	if d == inSluice && (kind == "SEMI" || kind == "ANTI") {
		kind = "LEFT " + kind
	}
	right := f.right.text(d)
	if f.right.kind != "" {
		right = "(" + right + ")"
	}
	out := f.left.text(d) + " " + kind + " JOIN " + right
	if len(f.using) > 0 {
		return out + " USING (" + strings.Join(f.using, ", ") + ")"
	}
	if f.on != nil {
		return out + " ON " + f.on.text(d)
	}
	return out
}

// text writes a window function; in DuckDB it is arithmetic over the table, with
// a row for each window that a time lies in.
func (w *window) text(d dialect) string {
	if d == inSluice {
		if w.slide == w.size {
			return fmt.Sprintf("TUMBLE(TABLE %s, DESCRIPTOR(%s), INTERVAL '%d' SECOND)", w.table, w.ts, w.size)
		}
		return fmt.Sprintf("HOP(TABLE %s, DESCRIPTOR(%s), INTERVAL '%d' SECOND, INTERVAL '%d' SECOND)", w.table, w.ts, w.slide, w.size)
	}
	n := (w.size + w.slide - 1) / w.slide
	start := fmt.Sprintf("(time_bucket(INTERVAL '%d seconds', x.%s, TIMESTAMP '1970-01-01 00:00:00') - INTERVAL '%d seconds' * i.range)", w.slide, w.ts, w.slide)
	size := fmt.Sprintf("INTERVAL '%d seconds'", w.size)
	return fmt.Sprintf("(SELECT x.*, %s AS window_start, %s + %s AS window_end, %s + %s - INTERVAL '1 microsecond' AS window_time"+
		" FROM %s AS x, range(%d) AS i WHERE x.%s IS NOT NULL AND %s + %s > x.%s)",
		start, start, size, start, size, w.table, n, w.ts, start, size, w.ts)
}

func (q *query) clone() *query {
	if q == nil {
		return nil
	}
	c := *q
	c.with = nil
	for _, w := range q.with {
		c.with = append(c.with, cte{w.name, w.q.clone(), w.recursive})
	}
	c.sel = q.sel.clone()
	c.sets = nil
	for _, s := range q.sets {
		c.sets = append(c.sets, branch{s.op, s.s.clone()})
	}
	c.order = append([]order(nil), q.order...)
	return &c
}

func (s *sel) clone() *sel {
	c := *s
	c.items = nil
	for _, it := range s.items {
		c.items = append(c.items, item{it.e.clone(), it.name})
	}
	c.from = s.from.clone()
	c.where = s.where.clone()
	c.keys = cloneNodes(s.keys)
	c.sets = append([][]int(nil), s.sets...)
	c.having = s.having.clone()
	c.qualify = s.qualify.clone()
	c.on = append([]int(nil), s.on...)
	return &c
}

func (f *from) clone() *from {
	if f == nil {
		return nil
	}
	c := *f
	c.sub, c.left, c.right, c.on = f.sub.clone(), f.left.clone(), f.right.clone(), f.on.clone()
	c.using = append([]string(nil), f.using...)
	return &c
}
