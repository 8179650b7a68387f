package damage

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver/filelog"
	"github.com/sluice-stream/sluice/microbatch"
)

// shapes are queries whose state or output could depend on the order in which
// rows arrive: sums of fractions, the first of several, lists, sketches, joins.
// What is left out is rand() behind an exchange: it is seeded by the partition,
// so that such a query cannot be replayed with another number of them.
var shapes = []struct{ name, mode, sink, sel string }{
	{"sums of fractions", "complete", "(k STRING, a DOUBLE, b DOUBLE, c DOUBLE)",
		"SELECT k, avg(v / 7.0D) AS a, sum(v / 3.0D) AS b, stddev(v / 7.0D) AS c FROM events GROUP BY k"},
	{"two numbers", "complete", "(k STRING, a DOUBLE, b DOUBLE)",
		"SELECT k, corr(v / 7.0D, id / 3.0D) AS a, covar_pop(v / 7.0D, id) AS b FROM events GROUP BY k"},
	{"order of rows", "complete", "(k STRING, a BIGINT, b BIGINT, c BIGINT, d BIGINT)",
		"SELECT k, first(id) AS a, last(id) AS b, min_by(id, v) AS c, max_by(id, v) AS d FROM events GROUP BY k"},
	{"lists", "complete", "(k STRING, a STRING, b STRING)",
		"SELECT k, CAST(collect_list(v) AS STRING) AS a, CAST(collect_set(v % 5) AS STRING) AS b FROM events GROUP BY k"},
	{"sketches", "complete", "(k STRING, a BIGINT, b BIGINT, c DOUBLE)",
		"SELECT k, approx_count_distinct(id) AS a, mode(v) AS b, median(v) AS c FROM events GROUP BY k"},
	{"global", "complete", "(a DOUBLE, b BIGINT)", "SELECT sum(v / 7.0D) AS a, first(id) AS b FROM events"},
	{"windows", "append", "(start TIMESTAMP_NTZ, k STRING, a DOUBLE, b BIGINT)",
		"SELECT window_start AS start, k, avg(v / 7.0D) AS a, first(id) AS b FROM HOP(TABLE events, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '3' MINUTE) GROUP BY window_start, window_end, k"},
	{"join", "complete", "(city STRING, a DOUBLE, b BIGINT)",
		"SELECT city, sum(v / 7.0D) AS a, first(id) AS b FROM events JOIN dim ON k = dk GROUP BY city"},
	{"join of partitions", "complete", "(city STRING, a DOUBLE, b BIGINT)",
		"SELECT city, sum(v / 7.0D) AS a, first(id) AS b FROM events JOIN (SELECT dk, max(city) AS city FROM dim GROUP BY dk) AS d ON k = dk GROUP BY city"},
	{"distinct", "append", "(k STRING, v BIGINT)", "SELECT DISTINCT k, v % 10 AS v FROM events"},
	{"rows", "append", "(id BIGINT, r DOUBLE, u STRING)", "SELECT id, rand() AS r, uuid() AS u FROM events"},
}

// outcome is what a run has decided: the sums that the log holds for each batch,
// and the rows.
type outcome struct {
	batches []string
	rows    []string
}

// TestSamePlanSameRows runs each query with several numbers of partitions and
// of processors: the digests of state and output of every batch are the same.
func TestSamePlanSameRows(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	for _, s := range shapes {
		t.Run(s.name, func(t *testing.T) {
			var first outcome
			for i, run := range []struct{ parts, procs int }{{1, 1}, {3, 4}, {8, 2}} {
				runtime.GOMAXPROCS(run.procs) // the worker's slots
				got := decide(t, pipeline{name: s.name, format: "csv", mode: s.mode, sink: s.sink, sel: s.sel, static: true}, run.parts)
				if i == 0 {
					first = got
					continue
				}
				if !slices.Equal(got.batches, first.batches) {
					t.Errorf("with %d partitions on %d processors the log says\n%s\nand with 1 on 1\n%s", run.parts, run.procs, strings.Join(got.batches, "\n"), strings.Join(first.batches, "\n"))
				}
				if !slices.Equal(got.rows, first.rows) {
					t.Errorf("with %d partitions: %s", run.parts, difference(got.rows, first.rows))
				}
			}
		})
	}
}

// decide runs a query over a few batches of several files each.
func decide(t *testing.T, p pipeline, parts int) outcome {
	t.Helper()
	w := emptyWorld(t, p)
	for i := range 8 {
		w.feed(i)
	}
	w.feed(phases*filesPerPhase + 1)
	// Random numbers depend on the query's ID.
	own, err := filelog.Open(filelog.Options{Dir: filepath.Join(w.dir, "ck", "q"), Metadata: filelog.Metadata{Name: "q", Query: "4f3c"}})
	w.check(err)
	w.check(own.Close())
	s := w.session(map[string]string{"parallelism": fmt.Sprint(parts)})
	ddl := strings.ReplaceAll(w.ddl(""), "'max-files-per-trigger'='1'", "'max-files-per-trigger'='3'")
	w.check(s.Exec(t.Context(), ddl+"CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW OUTPUT MODE "+p.mode+" AS INSERT INTO results "+p.sel))
	q, _ := s.Query("q")
	w.check(q.Await(t.Context()))
	w.check(s.Close())
	var out outcome
	log, err := filelog.Open(filelog.Options{Dir: filepath.Join(w.dir, "ck", "q")})
	w.check(err)
	for rec, err := range log.Replay(context.Background(), 0) {
		w.check(err)
		c, ok := rec.(microbatch.Committed)
		if !ok {
			continue
		}
		sums := map[string]batch.Digest{}
		var names []string
		for _, d := range c.Shards {
			if _, ok := sums[d.Shard.Operator]; !ok {
				names = append(names, d.Shard.Operator)
			}
			sums[d.Shard.Operator] = sums[d.Shard.Operator].Add(d.Digest)
		}
		slices.Sort(names)
		line := fmt.Sprintf("batch %d: watermark %v, due %v, late %d, in %d", c.Batch, c.NextWatermark, c.NextDue, c.Counters.Late, c.Counters.RowsIn)
		for _, n := range names {
			line += fmt.Sprintf(", %s %v", n, sums[n])
		}
		rows, sum := microbatch.SinkSum(c.Prepared, "results#0")
		out.batches = append(out.batches, fmt.Sprintf("%s, out %d %v", line, rows, sum))
	}
	w.check(log.Close())
	if len(out.batches) < 3 {
		t.Errorf("there were %d batches", len(out.batches))
	}
	out.rows, err = w.rows(w.ddl(""), "SELECT * FROM results")
	w.check(err)
	return out
}
