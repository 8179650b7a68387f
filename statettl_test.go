package sluice

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestStateTTL lets all state go between two batches, by a time to live that is
// shorter than anything: each operator then knows its own batch alone.
func TestStateTTL(t *testing.T) {
	for _, c := range []struct{ name, query, mode, verdict string }{
		{"aggregate", "SELECT k, count(*) AS n FROM src GROUP BY k", "update", "its time to live"},
		{"distinct aggregate", "SELECT k, count(DISTINCT id) AS n FROM src GROUP BY k", "update", "its time to live"},
		{"recomputed", "SELECT k, median(id) AS n FROM src GROUP BY k", "update", "its time to live"},
		{"join", "SELECT a.k, b.id AS n FROM src a JOIN src b ON a.k = b.k AND a.id <> b.id", "append", "its time to live"},
		{"dedup", "SELECT DISTINCT k FROM src", "update", "its time to live"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := map[string][][]string{}
			for _, ttl := range []string{"0s", "1us", "1 hour"} {
				s := openSession(t, Options{})
				st := streamOf(t, s, "src", "id BIGINT, k STRING")
				must(t, s, "SET 'state.ttl' = '"+ttl+"'; CREATE TABLE dst WITH ('connector'='memory') AS "+c.query+" LIMIT 0")
				must(t, s, "CREATE STREAMING QUERY q OUTPUT MODE "+c.mode+" AS INSERT INTO dst "+c.query)
				q, _ := s.Query("q")
				if ttl != "0s" && !strings.Contains(q.Explain(), c.verdict) {
					t.Errorf("the verdict does not tell of the time to live:\n%s", q.Explain())
				}
				out := int64(0)
				for batch, rows := range []string{"1,a\n2,a\n3,b", "4,a\n5,b", "6,c\n7,a"} {
					add(t, st, rows)
					process(t, q)
					// One stream read twice is two sources: a step may take two batches.
					all := q.Totals().RowsOut
					want[ttl] = append(want[ttl], []string{fmt.Sprint(batch), fmt.Sprint(all - out), fmt.Sprint(stateRows(q.Progress()))})
					out = all
				}
				q.Stop()
			}
			if !slices.EqualFunc(want["0s"], want["1 hour"], func(a, b []string) bool { return a[1] == b[1] }) {
				t.Errorf("a long time to live changes what comes out: %v, %v", want["0s"], want["1 hour"])
			}
			if fmt.Sprint(want["1us"]) == fmt.Sprint(want["0s"]) {
				t.Errorf("a short time to live changes nothing: %v", want["1us"])
			}
			if n, all := want["1us"][2][2], want["0s"][2][2]; len(n) > len(all) || len(n) == len(all) && n >= all {
				t.Errorf("the state has %s rows, and without a time to live %s", n, all)
			}
		})
	}
}

func stateRows(p Progress) (n int64) {
	for _, o := range p.StateOperators {
		if !strings.HasSuffix(o.OperatorName, ".ttl") {
			n += o.NumRowsTotal
		}
	}
	return n
}

// TestStateTTLIsTheSameAfterARestart builds the state anew from the log: the same
// rows go in the same batches, or the digests would differ.
func TestStateTTLIsTheSameAfterARestart(t *testing.T) {
	dir := t.TempDir()
	run := func() *Query {
		s := openSession(t, Options{})
		must(t, s, fmt.Sprintf(`SET 'state.ttl' = '10ms'; SET 'checkpoint.interval' = '1 hour';
CREATE TABLE src (id BIGINT, k STRING) WITH ('connector'='filesystem','path'='%[1]s/in','format'='csv','max-files-per-trigger'='1');
CREATE TABLE dst (k STRING, n BIGINT) WITH ('connector'='filesystem','path'='%[1]s/out','format'='csv');
CREATE STREAMING QUERY q OUTPUT MODE complete CHECKPOINT '%[1]s/ck' AS INSERT INTO dst SELECT k, count(*) FROM src GROUP BY k`, dir))
		q, _ := s.Query("q")
		return q
	}
	for round := range 3 {
		for i := range 5 {
			putFile(t, filepath.Join(dir, "in", fmt.Sprintf("f%d%d.csv", round, i)), fmt.Sprintf("id,k\n%d,k%d\n", i, i%3))
		}
		q := run()
		process(t, q)
		q.Abandon()
		if err := q.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStateTTLSetting(t *testing.T) {
	got, err := parseTTL("1 day, aggregate#2 = 2 hours,join#0=0")
	if err != nil || got.all != 24*time.Hour || got.each["aggregate#2"] != 2*time.Hour || len(got.each) != 2 {
		t.Errorf("%+v %v", got, err)
	}
	s := openSession(t, Options{})
	for _, bad := range []string{"soon", "1 day, 2 days", "-1s"} {
		if s.Set("state.ttl", bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// streamOf makes a stream of declared columns.
func streamOf(t *testing.T, s *Session, name, columns string) *Stream {
	t.Helper()
	st, err := s.CreateStream(name, schemaOf(t, s, columns))
	if err != nil {
		t.Fatal(err)
	}
	return st
}
