package fuzz

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/internal/slt/duckdb"
)

var streams = flag.Int("streams", 30, "how many random queries TestStream runs")

// startDuck is DuckDB where the machine has it: a stream is held against its own
// batch answer anyhow.
func startDuck(t *testing.T) *duckdb.Engine {
	if os.Getenv("SLUICE_DUCKDB_PYTHON") == "" {
		return nil
	}
	return duckdb.Start(t)
}

// shape says which tables are changelogs.
func (c *streamCase) shape() string {
	out := ""
	for _, t := range c.g.tables {
		if t.changes != nil {
			out += fmt.Sprintf(", %s is a changelog (key of %d)", t.name, t.key)
			for i, ch := range t.changes {
				if i < 2*rowsShown {
					out += fmt.Sprintf("\n  %s %s", ch.op, strings.Join(ch.row, "|"))
				}
			}
		}
	}
	return out
}

// streamTally counts what became of streaming queries.
type streamTally struct {
	accepted map[sluice.Mode]int
	refused  int
	failed   int
	steps    int
	reasons  map[string]int
}

// TestStream runs random queries as streams and holds the accumulated result
// after each batch against the batch answer over the files so far.
func TestStream(t *testing.T) {
	duck := startDuck(t)
	n := streamTally{accepted: map[sluice.Mode]int{}, reasons: map[string]int{}}
	found := 0
	for i := 0; i < *streams && found < *faults; i++ {
		found += streamGroup(t, *seed+uint64(i), duck, &n)
		if i%250 == 249 {
			t.Logf("%d streams: %d prefixes, modes %v", i+1, n.steps, n.accepted)
		}
	}
	for _, why := range slices.Sorted(maps.Keys(n.reasons)) {
		t.Logf("refused %d: %s", n.reasons[why], why)
	}
	t.Logf("%d prefixes equal the batch answer; queries by mode %v; %d refused, %d failed as in batch", n.steps, n.accepted, n.refused, n.failed)
}

func streamGroup(t *testing.T, seed uint64, duck *duckdb.Engine, n *streamTally) int {
	r := rand.New(rand.NewPCG(seed, 2))
	g := newGen(r)
	for len(g.tables) > 2 {
		g.tables = g.tables[:2]
	}
	g.depth, g.stream = min(g.depth, 2), true
	delete(g.off, "window")
	c := &streamCase{g: g, cut: 2 + r.IntN(3), duck: duck}
	if c.windowed = r.IntN(3) == 0; c.windowed {
		c.delay = "10"
		c.late = r.IntN(3) == 0
		for _, tb := range g.tables {
			if !c.late {
				byTime(tb)
			}
		}
	}
	c.changelogs(r)
	static := r.IntN(2) == 0 // the second table is read whole
	for i := range g.tables {
		if static && i == 1 {
			g.tables[1].static = true
			continue
		}
		for range c.cut {
			c.order = append(c.order, i)
		}
	}
	r.Shuffle(len(c.order), func(i, j int) { c.order[i], c.order[j] = c.order[j], c.order[i] })
	c.restartAt = 1 + r.IntN(len(c.order)-1)
	q, cols := g.query(1+r.IntN(2), nil, false)
	if r.IntN(6) == 0 && !c.late {
		q, cols = g.chain()
		c.views = r.IntN(2) == 0
	}
	for tries := 0; c.late && c.windowEnd(q) < 0; tries++ {
		if tries == 50 {
			return 0
		}
		q, cols = g.query(0, nil, false)
	}
	found := 0
	dir := t.TempDir()
	for i, mode := range modes {
		if mode == sluice.Update && resultKey(q) == nil {
			continue // only an upsert by key can be accumulated
		}
		if c.late && mode != sluice.Append {
			continue // what a late row does to a window that is open is not in its answer
		}
		fault := c.run(t.Context(), filepath.Join(dir, fmt.Sprint(i)), q, cols, mode, n)
		if fault == "" {
			continue
		}
		found++
		tries := 0
		small := shrink(q, 150, func(s *query) bool {
			tries++
			other := c.run(t.Context(), filepath.Join(dir, fmt.Sprintf("%d-%d", i, tries)), s, columnsOf(s), mode, nil)
			return sameFault(fault, other)
		})
		fault = c.run(t.Context(), filepath.Join(dir, fmt.Sprint(i, "-last")), small, columnsOf(small), mode, nil)
		w := &world{tables: g.tables}
		t.Errorf("stream seed %d: %s%s, delay %q, %d files, order %v, restart before %d: %s\nsluice: %s\n%s", seed, mode, c.shape(), c.delay, c.cut, c.order, c.restartAt,
			fault, small.text(inSluice), w.dump(small))
		break
	}
	return found
}

// changelogs makes changelogs of some of the tables. Of a row that is taken back the
// time has passed, so that under a watermark it may be late.
func (c *streamCase) changelogs(r *rand.Rand) {
	for _, t := range c.g.tables {
		if len(t.rows) == 0 || len(t.rows) > 100 || r.IntN(3) == 0 {
			continue
		}
		t.makeChanges(r, r.IntN(3) == 0)
		c.late = c.late || c.windowed
	}
}

// againstDuckDB holds the batch answer over the files up to i against DuckDB's.
func (c *streamCase) againstDuckDB(ctx context.Context, q *query, cols []column, i int, got [][]string) string {
	for at, t := range c.g.tables {
		files := 0
		for _, o := range c.order[:i+1] {
			if o == at {
				files++
			}
		}
		rows := t.after(files, c.cut)
		if t.static {
			rows = t.after(1, 1)
		}
		if err := fillDuck(ctx, c.duck, t, rows); err != nil {
			return "DuckDB alone fails: " + firstLine(err)
		}
	}
	_, want, err := c.duck.Query(ctx, q.text(inDuckDB))
	switch {
	case err != nil && duckFault.MatchString(err.Error()):
		return ""
	case err != nil:
		return "DuckDB alone fails: " + firstLine(err)
	}
	if d := compare(cols, false, got, want); d != "" {
		return "differs from DuckDB: " + d
	}
	return ""
}

// streamCase is how the tables of a group come in.
type streamCase struct {
	g         *gen
	cut       int
	delay     string
	windowed  bool
	late      bool           // rows come in any order
	views     bool           // the query's parts are views
	duck      *duckdb.Engine // nil: there is none
	order     []int
	restartAt int
}

// byTime sorts a table so that no row is late.
func byTime(t *table) {
	slices.SortStableFunc(t.rows, func(a, b []string) int {
		x, y := a[2], b[2]
		switch {
		case x == y:
			return 0
		case x == null || (y != null && x < y):
			return -1
		}
		return 1
	})
}

// run runs a query as a stream in one mode and says what was wrong.
func (c *streamCase) run(ctx context.Context, dir string, q *query, cols []column, mode sluice.Mode, n *streamTally) string {
	defer os.RemoveAll(dir)
	if c.late && c.windowEnd(q) < 0 {
		return "" // which rows are late cannot be told
	}
	if !slices.ContainsFunc(c.g.tables, func(t *table) bool { return !t.static && reads(q, t) }) {
		return "" // it ends with its first batch
	}
	r := &streamRun{dir: dir, tables: c.g.tables, cut: c.cut, delay: c.delay, mode: mode, keys: resultKey(q)}
	sql := q.text(inSluice)
	if c.views {
		var rest *query
		r.views, rest = q.views()
		sql = rest.text(inSluice)
	}
	steps := 0
	var batchFault error
	err := r.run(ctx, sql, c.order, c.restartAt, func(i int, got [][]string) error {
		want, err := c.answer(ctx, r, q, i)
		if err != nil {
			batchFault = err
			return err
		}
		steps++
		if c.duck != nil && !c.late {
			if d := c.againstDuckDB(ctx, q, cols, i, want); d != "" {
				return errors.New(d)
			}
		}
		if c.delay != "" && mode == sluice.Append && waits(q.text(inSluice)) {
			// What is not closed yet is missing.
			return errors.Join(subset(cols, got, want), subset(cols, c.closed(q, want, i), got))
		}
		if d := compare(cols, false, got, want); d != "" {
			return errors.New("differs: " + d)
		}
		return nil
	})
	if n == nil {
		n = &streamTally{accepted: map[sluice.Mode]int{}}
	}
	switch {
	case err == nil:
		n.accepted[mode]++
		n.steps += steps
	case sluice.IsSyntaxOrPlanError(err):
		n.refused++
		if n.reasons != nil {
			n.reasons[class("alone"+firstLine(err))]++
		}
	case batchFault != nil:
		n.failed++
	case strings.Contains(err.Error(), "the query has ended"):
		// What reads no stream, but for a part that nobody uses, ends with its first batch.
	default:
		return firstLine(err)
	}
	return ""
}

// reads tells whether a query names a table.
func reads(q *query, t *table) bool {
	text := q.text(inSluice) + " "
	return strings.Contains(text, t.name+" ") || strings.Contains(text, t.name+",") || strings.Contains(text, t.name+")")
}

// waits tells whether append mode may hold rows of a query back until the watermark
// has passed a time: of a window, a group or a join.
func waits(sql string) bool {
	for _, word := range []string{"DESCRIPTOR", "GROUP BY", "DISTINCT", "JOIN", "UNION", "INTERSECT", "EXCEPT", "OVER", "IN (SELECT", "EXISTS"} {
		if strings.Contains(sql, word) {
			return true
		}
	}
	return false
}

// subset says which row is not one of the rows wanted.
func subset(cols []column, got, want [][]string) error {
	for _, row := range normal(cols, got) {
		if !slices.ContainsFunc(normal(cols, want), func(w []string) bool {
			for j := range w {
				if w[j] != row[j] && !(cols[j].approx && near(w[j], row[j])) {
					return false
				}
			}
			return true
		}) {
			return fmt.Errorf("differs: row %q is not among %d", row, len(want))
		}
	}
	return nil
}
