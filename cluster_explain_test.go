package sluice

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// joined is a pipeline of several stages: a join of two tables, and an aggregate of what
// they have in common. It has a name, and output and checkpoints of its own.
func (f *fleet) joined(name string) string {
	return strings.NewReplacer("$DIR", f.dir, "$NAME", name).Replace(`
SET 'parallelism' = '4';
CREATE TABLE numbers (digit BIGINT, n BIGINT) WITH ('connector' = 'filesystem', 'path' = '$DIR/in', 'format' = 'csv', 'csv.header' = 'false');
CREATE TABLE names (digit BIGINT, name BIGINT) WITH ('connector' = 'filesystem', 'path' = '$DIR/in/1.csv', 'format' = 'csv', 'csv.header' = 'false');
CREATE TABLE counts (digit BIGINT, rows BIGINT, total BIGINT) WITH ('connector' = 'filesystem', 'path' = '$DIR/out-$NAME', 'format' = 'csv', 'csv.header' = 'false', 'changelog.op-column' = 'op');
CREATE STREAMING QUERY $NAME OUTPUT MODE changelog TRIGGER ONCE AS
INSERT INTO counts SELECT digit, count(*), sum(n) FROM (SELECT a.digit, a.n FROM numbers a JOIN (SELECT DISTINCT name FROM names WHERE name < 400) b ON a.n = b.name WHERE a.digit <> 3) GROUP BY digit;`)
}

// did lists what a batch says of the operators: their names and rows, by stage.
func did(t *testing.T, q *Query, id int64) []string {
	t.Helper()
	tr, ok := q.Batch(id)
	if !ok {
		t.Fatalf("batch %d is not remembered", id)
	}
	var out []string
	for _, s := range tr.Stages {
		for _, op := range s.Ops {
			out = append(out, fmt.Sprintf("stage %d of %d tasks: %s%s: %d rows", s.Stage, s.Tasks, strings.Repeat("  ", op.Depth), op.Name, op.Rows))
			if op.Rows > 0 && (op.Batches == 0 || op.Bytes == 0 || op.Nanos == 0) {
				t.Errorf("%s: %+v", out[len(out)-1], op)
			}
		}
	}
	return out
}

// What EXPLAIN BATCH says of a query's operators is the same in one process and on however
// many workers.
func TestOperatorsOnAClusterCountAsInOneProcess(t *testing.T) {
	f := newFleet(t)
	f.add(0, 1000)
	f.add(0, 2000)
	s, err := NewSession(Options{CheckpointDir: filepath.Join(f.dir, "ck"), Pipeline: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	must(t, s, f.joined("alone"))
	q, _ := s.Query("alone")
	if err := q.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := did(t, q, 0)
	if all := strings.Join(want, "\n"); len(want) < 10 || !strings.Contains(all, "rows") || strings.Count(all, "\nstage 0 of") == len(want)-1 {
		t.Fatalf("the batch in one process did\n%s", all)
	}
	for _, workers := range []int{1, 3} {
		for n := range workers {
			if id := fmt.Sprint("w", n); f.workers[id] == nil {
				f.join(id)
			}
		}
		f.until("all workers are there", func() bool { return len(f.d.Workers()) == workers })
		if _, err := f.d.Submit(t.Context(), "p", f.joined(fmt.Sprint("on", workers))); err != nil {
			t.Fatal(err)
		}
		q := f.d.Queries()[0]
		if err := q.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := did(t, q, 0); !slices.Equal(got, want) {
			t.Errorf("on %d workers\n%s\nin one process\n%s", workers, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		text, err := q.ExplainBatch(0)
		if err != nil || !strings.Contains(text, "operator\n") {
			t.Errorf("EXPLAIN BATCH says %s, %v", text, err)
		}
		if err := f.d.Remove(t.Context(), "p"); err != nil {
			t.Fatal(err)
		}
	}
}

// The metrics of queries on a cluster are those of one process: the same ones, and with the
// same values but for times and what a process takes.
func TestMetricsOfAClusterAreThoseOfOneProcess(t *testing.T) {
	f := newFleet(t)
	f.add(0, 3000)
	get := func(h http.Handler, name string) map[string]string {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://127.0.0.1/metrics", nil))
		out := map[string]string{}
		for line := range strings.Lines(w.Body.String()) {
			metric, value, ok := strings.Cut(strings.ReplaceAll(strings.TrimSpace(line), "_"+name, ""), " ")
			if !ok || !strings.HasPrefix(metric, "sluice_") {
				continue
			}
			if strings.Contains(metric, "second") || strings.Contains(metric, "_memory_") {
				value = "any"
			}
			out[metric] = value
		}
		return out
	}
	s, err := NewSession(Options{CheckpointDir: filepath.Join(f.dir, "ck"), Pipeline: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	must(t, s, f.stateful("alone"))
	for _, q := range s.Queries() {
		process(t, q)
	}
	f.join("w0")
	f.join("w1")
	f.until("both are there", func() bool { return len(f.d.Workers()) == 2 })
	if _, err := f.d.Submit(t.Context(), "p", f.stateful("spread")); err != nil {
		t.Fatal(err)
	}
	for _, q := range f.d.Queries() {
		process(t, q)
	}
	alone, spread := get(s.Handler(), "alone"), get(f.d.base.Handler(), "spread")
	if len(alone) < 50 {
		t.Errorf("%d metrics", len(alone))
	}
	for metric, want := range alone {
		if got := spread[metric]; got != want {
			t.Errorf("%s is %s on a cluster, %s in one process", metric, got, want)
		}
		delete(spread, metric)
	}
	for metric, got := range spread {
		t.Errorf("%s is %s on a cluster alone", metric, got)
	}
}
