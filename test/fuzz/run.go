package fuzz

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
)

// tally counts what became of queries.
type tally struct {
	queries  int // answered by both
	failed   int // an error in both, as from a cast that does not fit
	refused  int // by Sluice, which says that it does not have something
	variants int // answers compared with the same query's in another variant
	parts    int // conditions cut into true, false and NULL
	rows     int
}

func (t tally) String() string {
	return fmt.Sprintf("%d queries with %d rows equal DuckDB's; %d errors in both, %d refused; %d answers under other settings and %d partitions agree",
		t.queries, t.rows, t.failed, t.refused, t.variants, t.parts)
}

// variants are the ways that each query is run; the first is held against DuckDB.
var variants = []variant{
	{name: "one partition, one CSV file", settings: map[string]string{"parallelism": "1"}, files: 1, format: "csv"},
	{name: "four partitions, seven Parquet files", settings: map[string]string{"parallelism": "4"}, files: 7, format: "parquet"},
	{name: "three partitions, a named file", settings: map[string]string{"parallelism": "3"}, format: "parquet"},
	{name: "little memory", settings: map[string]string{"parallelism": "2", "memory_limit": "16MB"}, files: 2, format: "parquet"},
	{name: "a rule less", settings: map[string]string{"parallelism": "2"}, files: 2, format: "parquet"},
	{name: "plans of large tables", settings: map[string]string{"parallelism": "3", "planner.broadcast-bytes": "1", "planner.reduce-rows": "1"}, files: 3, format: "parquet"},
}

// ruleLess is the variant of which each group skips another rule.
const ruleLess = 4

// rules are those of the planner that may be skipped.
var rules = []string{
	"fold-constants", "merge-filters", "push-filters", "order-joins", "outer-to-inner", "imply-filters", "push-residuals",
	"push-filters-into-joins", "reorder-joins", "merge-projects", "scan-filters", "prune-columns", "reduce-sides",
}

// newGen draws what a group of queries is about.
func newGen(r *rand.Rand) *gen {
	g := &gen{r: r, depth: 1 + r.IntN(4), off: map[string]bool{}}
	for _, f := range []string{"cte", "sets", "limit", "group", "subquery", "derived", "window", "join", "grouping", "filter", "analytic", "lateral", "recursive", "top", "on"} {
		g.off[f] = r.IntN(4) == 0
	}
	for i := range 2 + r.IntN(2) {
		g.tables = append(g.tables, newTable(r, fmt.Sprintf("t%d", i)))
	}
	return g
}

var refusal = regexp.MustCompile(`not supported|cannot be had`)

// duckFault is what DuckDB says when it is at fault itself.
var duckFault = regexp.MustCompile(`^(Serialization|INTERNAL) Error|did not return a BoundFunctionExpression|is out of range!`)

// oracle runs a query in both engines and says how the answers differ.
func (w *world) oracle(ctx context.Context, q *query, cols []column, n *tally) string {
	want, duckErr := w.answer(ctx, q)
	got, err := rowsOf(ctx, w.sessions[0], q.text(inSluice))
	switch {
	case err != nil && refusal.MatchString(err.Error()):
		n.refused++
		return ""
	case err != nil && duckErr != nil:
		n.failed++
		return ""
	case err != nil:
		return "Sluice alone fails: " + firstLine(err)
	case duckErr != nil && duckFault.MatchString(duckErr.Error()):
		n.failed++
		return ""
	case duckErr != nil:
		return "DuckDB alone fails: " + firstLine(duckErr)
	}
	n.queries++
	n.rows += len(got)
	return compare(cols, len(q.order) >= len(cols) && len(q.order) > 0, got, want)
}

func (w *world) answer(ctx context.Context, q *query) ([][]string, error) {
	_, rows, err := w.duck.Query(ctx, q.text(inDuckDB))
	return rows, err
}

// variant runs a query in two sessions and says how the answers differ.
func (w *world) variant(ctx context.Context, q *query, cols []column, i int, n *tally) string {
	sql := q.text(inSluice)
	want, err := rowsOf(ctx, w.sessions[0], sql)
	got, other := rowsOf(ctx, w.sessions[i], sql)
	switch {
	case err != nil && other != nil:
		return ""
	case other != nil:
		return "fails here alone: " + firstLine(other)
	case err != nil:
		return "fails in the first variant alone: " + firstLine(err)
	}
	n.variants++
	return compare(cols, len(q.order) >= len(cols) && len(q.order) > 0, got, want)
}

// partition cuts the rows of a FROM into those for which a condition is true,
// false and NULL: together they are all.
func (w *world) partition(ctx context.Context, g *gen, n *tally) string {
	src := g.from(1)
	p := g.expr(typ{k: kBool}, g.depth, src.cols)
	from, cond := " FROM "+src.f.text(inSluice), p.text(inSluice)
	sum := 0
	var parts []string
	for i, where := range []string{"", " WHERE " + cond, " WHERE NOT " + cond, " WHERE (" + cond + ") IS NULL"} {
		rows, err := rowsOf(ctx, w.sessions[1], "SELECT count(*)"+from+where)
		if err != nil {
			return ""
		}
		count := 0
		if _, err := fmt.Sscan(rows[0][0], &count); err != nil {
			return err.Error()
		}
		if i == 0 {
			sum = count
		} else {
			sum -= count
		}
		parts = append(parts, rows[0][0])
	}
	n.parts++
	if sum != 0 {
		return fmt.Sprintf("all, true, false and NULL are %s rows of%s WHERE %s", strings.Join(parts, ", "), from, cond)
	}
	return ""
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// sameFault tells whether two differences are of one kind, so that shrinking does
// not wander to another.
func sameFault(a, b string) bool { return b != "" && class(a) == class(b) }

var varying = regexp.MustCompile(`'[^']*'|"[^"]*"|[0-9]+`)

func class(s string) string {
	if strings.Contains(s, "alone") {
		s = varying.ReplaceAllString(s, "#")
		return s[:min(len(s), 60)]
	}
	return "differs"
}
