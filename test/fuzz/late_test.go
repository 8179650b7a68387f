package fuzz

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	clockLayout = "2006-01-02 15:04:05.999999"
	delay       = 10 * time.Second // of every watermark
)

// windowEnd is the column of a result that has the window's end, where the query
// is an aggregation of one stream by window; else -1.
func (c *streamCase) windowEnd(q *query) int {
	f := q.sel.from
	if !q.sel.grouped || q.sel.qualify != nil || len(q.sel.on) > 0 || len(q.sel.keys) == 0 || len(q.sets) > 0 || len(q.with) > 0 || f == nil || f.win == nil || q.sel.where != nil && strings.Contains(q.sel.where.text(inSluice), "SELECT") {
		return -1
	}
	if t := c.streamOf(q); t < 0 || c.g.tables[t].static || c.late && f.win.size != f.win.slide {
		return -1
	}
	return slices.IndexFunc(q.sel.items, func(it item) bool { return it.e.s == f.alias+".window_end" })
}

// streamOf is the table of a query's window function.
func (c *streamCase) streamOf(q *query) int {
	return slices.IndexFunc(c.g.tables, func(t *table) bool { return t.name == q.sel.from.win.table })
}

// fed are a table's files when those up to i of all tables have come.
func (c *streamCase) fed(table, i int) [][][]string {
	var files [][][]string
	for _, o := range c.order[:i+1] {
		if o == table {
			files = append(files, c.g.tables[table].rowsOfFile(len(files), c.cut))
		}
	}
	return files
}

// latest is the highest event time of top and the rows.
func latest(top time.Time, rows [][]string) time.Time {
	for _, row := range rows {
		if at, err := time.Parse(clockLayout, row[2]); err == nil && (top.IsZero() || at.After(top)) {
			top = at
		}
	}
	return top
}

// closed are the rows of an aggregation by window that the watermark has closed
// when the files up to i have come; none where that cannot be told from them.
func (c *streamCase) closed(q *query, rows [][]string, i int) [][]string {
	at := c.windowEnd(q)
	if at < 0 {
		return nil
	}
	top := time.Time{}
	for _, rows := range c.fed(c.streamOf(q), i) {
		top = latest(top, rows)
	}
	if top.IsZero() {
		return nil
	}
	mark := top.Add(-delay).Format(clockLayout)
	return slices.DeleteFunc(slices.Clone(rows), func(row []string) bool { return row[at] == null || row[at] > mark })
}

// answer is the batch answer over the files up to i. Where rows come late it is
// that over the rows that do not: a row is late when the end of its window is not
// after the highest event time of the files before, less the delay.
func (c *streamCase) answer(ctx context.Context, r *streamRun, q *query, i int) ([][]string, error) {
	if !c.late {
		return rowsOf(ctx, r.s, q.text(inSluice))
	}
	t := *c.g.tables[c.streamOf(q)]
	top, size := time.Time{}, time.Duration(q.sel.from.win.size)*time.Second
	var onTime []change
	for f, rows := range c.fed(c.streamOf(q), i) {
		for _, ch := range t.deltas(f, c.cut) {
			at, err := time.Parse(clockLayout, ch.row[2])
			if err == nil && (top.IsZero() || windowEndOf(at, size).After(top.Add(-delay))) {
				onTime = append(onTime, ch)
			}
		}
		top = latest(top, rows)
	}
	t.rows, t.changes, t.key = current(onTime, 0), nil, 0
	dir := filepath.Join(r.dir, fmt.Sprint("want", i))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := t.writeCSV(filepath.Join(dir, "all.csv"), t.rows); err != nil {
		return nil, err
	}
	t.name = fmt.Sprint("want", i)
	if err := r.s.Exec(ctx, t.ddl(dir, "csv", "")); err != nil {
		return nil, err
	}
	same := q.clone()
	w := *q.sel.from.win
	w.table, same.sel.from.win = t.name, &w
	return rowsOf(ctx, r.s, same.text(inSluice))
}

// windowEndOf is the end of the tumbling window, aligned to 1970, of a time.
func windowEndOf(at time.Time, size time.Duration) time.Time {
	s, n := at.Unix(), int64(size/time.Second)
	return time.Unix(s-((s%n)+n)%n+n, 0).UTC()
}
