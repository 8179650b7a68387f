package sluice

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestStateLookups: conditions that name values for each key column become lookups,
// as EXPLAIN says, in a checkpoint and in a query that runs, for aggregates, windows
// and operators that keep rows. They find what reading all rows finds.
func TestStateLookups(t *testing.T) {
	b := newStateBed(t)
	s := b.session("parallelism=3")
	b.exec(s, `CREATE TABLE tv (id BIGINT, k STRING, v BIGINT, ts AS timestamp_seconds(id), WATERMARK FOR ts AS ts - INTERVAL '1' HOUR)
	WITH ('connector'='filesystem','path'='`+b.dir+`/in','format'='csv');
	CREATE TABLE o1 (a STRING, b BIGINT, n BIGINT) WITH ('connector'='blackhole');
	CREATE TABLE o2 (w TIMESTAMP, a STRING, n BIGINT) WITH ('connector'='blackhole');
	CREATE TABLE o3 (a STRING, b BIGINT, n BIGINT) WITH ('connector'='blackhole')`)
	b.feed(0, 1)
	for name, c := range map[string]struct {
		text    string
		columns string
		where   map[string]string // and what EXPLAIN says
	}{
		"groups": {"INSERT INTO o1 SELECT k, v % 5, count(*) FROM tv GROUP BY k, v % 5", "*", map[string]string{
			"k = 'k3' AND `(v % 5)` = 2":                      "1 key is looked up",
			"k IN ('k1', 'k3', 'no') AND `(v % 5)` IN (0, 4)": "6 keys are looked up",
			"k = 'k3'":                   "all rows are read",
			"k = 'k3' AND `(v % 5)` > 2": "all rows are read",
			"k = 'k3' AND `(v % 5)` = 2 AND `count(*).0` > 1000": "1 key is looked up",
		}},
		"windows": {"INSERT INTO o2 SELECT window_end, k, count(*) FROM TUMBLE(TABLE tv, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY k, window_start, window_end", "*", map[string]string{
			"k = 'k4' AND window_end = TIMESTAMP '1970-01-01 00:00:20' AND window_start = TIMESTAMP '1970-01-01 00:00:10'": "1 key is looked up",
			"k = 'k4' AND window_start = TIMESTAMP '1970-01-01 00:00:10'":                                                  "all rows are read",
		}},
		"rows": {"INSERT INTO o3 SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v DESC) FROM tv", "*", map[string]string{
			"k = 'k4'":                "1 key is looked up",
			"k IN ('k4','k5','none')": "3 keys are looked up",
		}},
	} {
		b.exec(s, "CREATE STREAMING QUERY "+name+" OUTPUT MODE changelog AS "+c.text)
		q := b.drained(s, name)
		b.exec(s, "SAVE STREAMING QUERY "+name+" AS first")
		first := fmt.Sprint(q.Progress().BatchID)
		b.feed(2)
		b.drained(s, name)
		b.exec(s, "SAVE STREAMING QUERY "+name+" AS s")
		last := fmt.Sprint(q.Progress().BatchID)
		op := q.StateOperators()[0]
		for where, says := range c.where {
			for _, from := range []string{"state('" + name + "', '" + op + "', savepoint => 's')", "query_state('" + name + "', '" + op + "')",
				"state_changes('" + name + "', '" + op + "', " + first + ", " + last + ")"} {
				got := b.rows(s, "SELECT * FROM "+from+" WHERE "+where)
				all := b.rows(s, "SELECT * FROM (SELECT * FROM "+from+" LIMIT 100000) WHERE "+where)
				b.same(from+" where "+where, got, all)
				if len(all) == 0 && !strings.HasPrefix(from, "state_changes") && !strings.Contains(where, "1000") {
					t.Errorf("%s where %s: nothing is there to be found", from, where)
				}
				if plan := fmt.Sprint(b.rows(s, "EXPLAIN SELECT * FROM "+from+" WHERE "+where)); !strings.Contains(plan, says) {
					t.Errorf("%s where %s: EXPLAIN does not say %q:\n%s", from, where, says, plan)
				}
			}
		}
		b.exec(s, "STOP STREAMING QUERY "+name)
		if err := os.Remove(filepath.Join(b.dir, "in", "f002.csv")); err != nil {
			t.Fatal(err)
		}
	}
	b.close(s)
}

// TestStateAtABatch: keys are looked up as they were after a batch whose checkpoint is
// kept, while the query goes on; any other batch is refused with those that there are.
func TestStateAtABatch(t *testing.T) {
	b := newStateBed(t)
	s := b.session("checkpoint.interval=1h", "parallelism=3")
	b.exec(s, `CREATE TABLE o1 (k STRING, v BIGINT, n BIGINT) WITH ('connector'='blackhole')`)
	b.exec(s, "CREATE STREAMING QUERY g OUTPUT MODE update AS "+countQuery)
	b.exec(s, `CREATE STREAMING QUERY r OUTPUT MODE changelog AS INSERT INTO o1 SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v DESC) FROM ev`)
	states := map[string]*OperatorState{}
	seen := map[string]map[int64]string{}
	look := func(o *OperatorState) (int64, string) {
		one, err := o.Get(t.Context(), "k3")
		if err != nil {
			t.Fatal(err)
		}
		all, err := o.All(t.Context())
		if err != nil || all.Batch != one.Batch {
			t.Fatal(one.Batch, all, err)
		}
		out := []string{fmt.Sprint(one.Rows)}
		for _, row := range all.Rows {
			out = append(out, fmt.Sprint(row))
		}
		slices.Sort(out[1:])
		return one.Batch, strings.Join(out, " ")
	}
	for n := range 5 {
		b.feed(n)
		for _, name := range []string{"g", "r"} {
			q := b.drained(s, name)
			o, err := q.State(q.StateOperators()[0])
			if err != nil {
				t.Fatal(err)
			}
			if states[name] = o; seen[name] == nil {
				seen[name] = map[int64]string{}
			}
			at, rows := look(o)
			seen[name][at] = rows
			if n%2 == 1 {
				b.exec(s, "SAVE STREAMING QUERY "+name+" AS s"+fmt.Sprint(n))
			}
			if n == 3 {
				b.exec(s, "ALTER STREAMING QUERY "+name+" SET PARALLELISM 2")
			}
		}
	}
	for name, o := range states {
		kept, refused := 0, 0
		for at, want := range seen[name] {
			past := o.AtBatch(at)
			if _, err := past.Get(t.Context(), "k3"); err != nil {
				if refused++; !strings.Contains(err.Error(), fmt.Sprintf("holds no checkpoint of batch %d; it has those of batches ", at)) {
					t.Errorf("%s at %d: %v", name, at, err)
				}
				continue
			}
			if got, rows := look(past); got != at || rows != want {
				t.Errorf("%s at %d gives batch %d:\n%s\nwant\n%s", name, at, got, rows, want)
			}
			kept++
		}
		if kept < 3 || refused == 0 {
			t.Errorf("%s: %d batches can be read and %d cannot", name, kept, refused)
		}
		for at, want := range map[int64]string{99: "batch 99 of query " + name + " is not committed; the newest that is is batch ", -3: "the first batch is 0"} {
			if _, err := o.AtBatch(at).Get(t.Context(), "k3"); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("batch %d: %v", at, err)
			}
		}
	}
	b.close(s)
}

// TestCheckpointThatIsNotKept: the log names checkpoints whose files are gone; who asks
// for one of them is told which are there.
func TestCheckpointThatIsNotKept(t *testing.T) {
	b := newStateBed(t)
	s := b.session("checkpoint.interval=1ms", "checkpoint.retain=1")
	b.exec(s, "CREATE STREAMING QUERY a OUTPUT MODE update AS "+countQuery)
	n := 0
	for gone := false; !gone; n++ { // files are collected beside the batches
		if n > 200 {
			t.Fatal("the files of batch 1 stay")
		}
		old, err := filepath.Glob(filepath.Join(b.dir, "ck", "a", "state", "*.v[01].*"))
		if err != nil {
			t.Fatal(err)
		}
		gone = n > 3 && len(old) == 0
		b.feed(n)
		b.drained(s, "a")
		b.exec(s, fmt.Sprintf("SAVE STREAMING QUERY a AS s%d; DROP SAVEPOINT s%d FOR a", n, n)) // a checkpoint of each batch
	}
	q, _ := s.Query("a")
	op := q.StateOperators()[0]
	b.close(s)
	s = b.session()
	b.fails(s, "SELECT * FROM state('a', '"+op+"', batch => 1)", fmt.Sprintf("holds no checkpoint of batch 1; it has those of batches %d", n-1))
	b.fails(s, "SELECT * FROM state_changes('a', '"+op+"', 0, "+fmt.Sprint(n-1)+")", "holds no checkpoint of batch 0")
	b.same("the newest", b.rows(s, "SELECT k, `count(*).0`, `sum(v).0` FROM state('a', '"+op+"')"), b.want(n))
	b.close(s)
}
