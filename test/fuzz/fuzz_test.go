package fuzz

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/internal/slt/duckdb"
)

var (
	seed    = flag.Uint64("seed", 1, "where random queries start")
	queries = flag.Int("queries", 200, "how many random queries TestSQL runs")
	faults  = flag.Int("faults", 5, "stop after so many faults")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// perGroup is how many queries share tables.
const perGroup = 50

// TestSQL holds random queries against DuckDB and against themselves under other
// settings.
func TestSQL(t *testing.T) {
	duck := duckdb.Start(t)
	var n tally
	found := 0
	for group := 0; group*perGroup < *queries && found < *faults; group++ {
		found += runGroup(t, duck, *seed+uint64(group), &n)
	}
	t.Log(n)
	if n.queries == 0 {
		t.Error("no query was answered")
	}
}

func runGroup(t *testing.T, duck *duckdb.Engine, seed uint64, n *tally) int {
	ctx := t.Context()
	g := newGen(rand.New(rand.NewPCG(seed, 1)))
	vs := slices.Clone(variants)
	vs[ruleLess].settings = maps.Clone(vs[ruleLess].settings)
	vs[ruleLess].settings["planner.skip-rules"] = rules[seed%uint64(len(rules))]
	w, err := newWorld(ctx, filepath.Join(t.TempDir(), fmt.Sprint(seed)), g.tables, duck, vs)
	defer func() {
		if err := w.close(); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}()
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	found := 0
	report := func(what, fault string, q *query) {
		found++
		t.Errorf("seed %d: %s: %s\nsluice: %s\nduckdb: %s\n%s", seed, what, fault, q.text(inSluice), q.text(inDuckDB), w.dump(q))
	}
	for i := range perGroup {
		q, cols := g.query(2, nil, false)
		if fault := w.oracle(ctx, q, cols, n); fault != "" {
			small := shrink(q, 400, func(c *query) bool {
				return sameFault(fault, w.oracle(ctx, c, columnsOf(c), &tally{}))
			})
			report("against DuckDB", w.oracle(ctx, small, columnsOf(small), &tally{}), small)
			continue
		}
		v := 1 + i%(len(variants)-1)
		if fault := w.variant(ctx, q, cols, v, n); fault != "" {
			small := shrink(q, 400, func(c *query) bool {
				return sameFault(fault, w.variant(ctx, c, columnsOf(c), v, &tally{}))
			})
			report(variants[v].name, w.variant(ctx, small, columnsOf(small), v, &tally{}), small)
		}
		if i%5 == 0 {
			if fault := w.partition(ctx, g, n); fault != "" {
				found++
				t.Errorf("seed %d: partition: %s", seed, fault)
			}
		}
	}
	return found
}

// columnsOf are the columns of a query's result.
func columnsOf(q *query) []column {
	var cols []column
	for _, it := range q.sel.items {
		cols = append(cols, column{name: it.name, t: it.e.t, approx: it.e.approx})
	}
	return cols
}

// rowsShown is how many rows of a table a report has; the seed makes them all.
const rowsShown = 10

// dump writes the tables that a query reads.
func (w *world) dump(q *query) string {
	var b strings.Builder
	text := q.text(inSluice)
	for _, t := range w.tables {
		if strings.Contains(text, t.name+" ") || strings.Contains(text, t.name+",") {
			fmt.Fprintf(&b, "%s (%s)\n", t.name, t.columns(inSluice))
			for i, row := range t.rows {
				if i == rowsShown {
					fmt.Fprintf(&b, "  and %d more\n", len(t.rows)-i)
					break
				}
				fmt.Fprintf(&b, "  %s\n", strings.Join(row, "|"))
			}
		}
	}
	return b.String()
}
