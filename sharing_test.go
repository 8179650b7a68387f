package sluice

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/internal/clock"
)

// waitFor waits until a query's status begins with some text.
func waitFor(t testing.TB, q *Query, status string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !strings.HasPrefix(q.Status(), status) {
		if clock.Wait(ctx, clock.System(), time.Millisecond) != nil {
			t.Fatalf("query %s is %q, want %q", q.Name(), q.Status(), status)
		}
	}
}

func TestQueriesOfASessionWaitForOneAnother(t *testing.T) {
	s := openSession(t, Options{Settings: map[string]string{"admission.max-queries": "1"}})
	st := newStream(t, s, "ev")
	first := start(t, s.Table("ev").GroupBy("k").Count().WriteToMemory("m").Keys("k").Mode(Update).Name("first"))
	add(t, st, "a,1\nb,2")
	process(t, first)
	second := start(t, s.Table("ev").WriteToMemory("n").Mode(Append).Name("second"))
	third := start(t, s.Table("ev").WriteToMemory("o").Mode(Append).Name("third"))
	waitFor(t, second, "queued: as many queries run as may at a time: 1")
	waitFor(t, third, "queued: 1 before it, the first is second")
	same(t, "shown", query2(t, s, "SHOW STREAMING QUERIES")[1:], "second|queued: as many queries run as may at a time: 1", "third|queued: 1 before it, the first is second")
	third.Stop() // it ends without having begun
	if err := third.Await(t.Context()); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(context.Canceled)
	if df, err := s.SQL(ctx, "SELECT 1"); err != nil {
		t.Error(err)
	} else if _, err := df.Collect(ctx); err == nil {
		t.Error("a statement that runs once did not wait")
	}
	first.Stop()
	if err := first.Await(t.Context()); err != nil {
		t.Error(err)
	}
	process(t, second)
	must(t, s, "SET admission.max-queries = 2")
	same(t, "rows of the second", query(t, s, "SELECT k, v FROM n ORDER BY k"), "a|1", "b|2")
}

// query2 runs a statement for its first two columns.
func query2(t testing.TB, s *Session, statement string) (out []string) {
	t.Helper()
	err := s.Run(t.Context(), statement, func(r *Result) error {
		rows, err := read(t.Context(), r.Rows)
		for _, row := range rows {
			parts := strings.SplitN(row, "|", 3)
			out = append(out, strings.Join(parts[:2], "|"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestQuotaOfAQuery(t *testing.T) {
	s := openSession(t, Options{Settings: map[string]string{"parallelism": "2", "memory_limit": "256MB"}})
	st := newStream(t, s, "ev")
	for key, value := range map[string]string{"query.weight": "0", "query.slots-max": "-1", "task.speculation.quantile": "1.5", "task.speculation.multiplier": "0.5", "query.memory-limit": "much"} {
		if err := s.Set(key, value); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("SET %s = %s: %v", key, value, err)
		}
	}
	must(t, s, "SET query.memory-limit = '1GB'")
	_, err := s.Table("ev").WriteToMemory("never").Mode(Append).Name("never").Start(t.Context())
	wantError(t, err, "query.memory-limit 953.7 MiB: no worker has so much memory, the largest one 244.1 MiB")
	must(t, s, "SET query.memory-limit = '200MB'; SET query.slots-max = 1; SET query.weight = 4")
	q := start(t, s.Table("ev").GroupBy("k").Count().WriteToMemory("m").Keys("k").Mode(Update).Name("first"))
	if want := (Quota{Weight: 4, SlotsMax: 1, MemoryBytes: 200e6}); q.Quota() != want {
		t.Errorf("quota %+v, want %+v", q.Quota(), want)
	}
	add(t, st, "a,1\nb,2")
	process(t, q)
	const text = "== Quota ==\nweight 4, at most 1 tasks at a time, 190.7 MiB of each worker's memory\n"
	if !strings.HasSuffix(q.Explain(), text) {
		t.Errorf("EXPLAIN ends with %q", q.Explain()[max(0, len(q.Explain())-200):])
	}
	state, err := json.Marshal(q.state(false))
	if err != nil || !strings.Contains(string(state), `"quota":{"weight":4,"slotsMax":1,"memoryBytes":200000000}`) {
		t.Errorf("%s (%v) does not tell the quota", state, err)
	}
	other := start(t, s.Table("ev").WriteToMemory("n").Mode(Append).Name("other"))
	waitFor(t, other, "queued: 190.7 MiB on each worker, where 53.4 MiB of 244.1 MiB are not promised to others")
	must(t, s, "SET memory_limit = '500MB'")
	process(t, other)
	must(t, s, "RESET query.weight; RESET query.slots-max; RESET query.memory-limit")
	if df, err := s.SQL(t.Context(), "SELECT 1"); err != nil {
		t.Error(err)
	} else if plan, err := df.Explain(); err != nil || strings.Contains(plan, "Quota") {
		t.Errorf("without a quota: %v\n%s", err, plan)
	}
}

// TestAQueryOverItsQuotaFailsAlone: it spills within its quota, and what cannot spill is
// told of the setting. The process has memory for far more.
func TestAQueryOverItsQuotaFailsAlone(t *testing.T) {
	s := openSession(t, Options{Settings: map[string]string{"parallelism": "2"}})
	st := newStream(t, s, "ev")
	q := start(t, s.Table("ev").GroupBy("k").Count().WriteToMemory("m").Keys("k").Mode(Update).Name("beside"))
	must(t, s, "CREATE TABLE g (id BIGINT) WITH ('connector'='datagen', 'number-of-rows'='500000', 'fields.id.kind'='sequence', 'fields.id.start'='0', 'fields.id.end'='499999')")
	must(t, s, "SET query.memory-limit = '16MB'")
	same(t, "spilled", query(t, s, "SELECT count(*), max(n) FROM (SELECT id, count(*) AS n FROM g GROUP BY id)"), "500000|1")
	df, err := s.SQL(t.Context(), "SELECT size(collect_list(id)) FROM (SELECT id FROM g UNION ALL SELECT id FROM g UNION ALL SELECT id FROM g)")
	if err != nil {
		t.Fatal(err)
	}
	_, err = df.Collect(t.Context())
	wantError(t, err, "raise query.memory-limit")
	add(t, st, "a,1\nb,2")
	process(t, q)
	q.Stop()
	if err := q.Await(t.Context()); err != nil {
		t.Error(err)
	}
	released(t, s)
}

func TestAPipelineDoesNotSetWhatIsTheClusters(t *testing.T) {
	s := openSession(t, Options{workforce: &workforce{members: driver.NewMembers(nil)}})
	err := s.Exec(t.Context(), "SET admission.max-queries = 3")
	wantError(t, err, "sluice driver --set admission.max-queries=3")
}
