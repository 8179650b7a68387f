package sluice

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// ttlSteps feed two streams at times after the start, and say how many rows a query
// without a time to live gives with each.
var ttlSteps = []struct {
	at   time.Duration
	a, b string
}{
	{0, "1,p", "1,p"},
	{30 * time.Minute, "2,p", "2,q"},
	{90 * time.Minute, "3,q", "3,p"},
	{100 * time.Minute, "4,p", ""},
	{26 * time.Hour, "5,p", "5,q"},
	{27 * time.Hour, "6,q", "6,p"},
}

// ttlRun gives the rows that each step puts out.
func ttlRun(t *testing.T, query, mode string, settings map[string]string, waits bool) (out []string, verdicts string) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		set := map[string]string{"parallelism": "2"}
		for k, v := range settings {
			set[k] = v
		}
		s, err := NewSession(Options{CheckpointDir: dir, Logger: slog.New(slog.DiscardHandler), Stdout: io.Discard, Settings: set})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		a, b := streamOf(t, s, "a", "id BIGINT, k STRING"), streamOf(t, s, "b", "id BIGINT, k STRING")
		must(t, s, "CREATE TABLE dst WITH ('connector'='memory') AS SELECT * FROM ("+query+") LIMIT 0")
		must(t, s, "CREATE STREAMING QUERY q OUTPUT MODE "+mode+" AS INSERT INTO dst "+query)
		q, _ := s.Query("q")
		verdicts = q.Explain()
		var passed time.Duration
		for _, step := range ttlSteps {
			if waits {
				<-time.After(step.at - passed)
				passed = step.at
			}
			add(t, a, step.a)
			if step.b != "" {
				add(t, b, step.b)
			}
			process(t, q)
			rows := scanRows(t, s, "SELECT * FROM dst")
			slices.Sort(rows)
			out = append(out, strings.Join(rows, ""))
		}
		q.Stop()
	})
	return out, verdicts
}

// TestStateTTLHint gives the sides of joins and the inputs of other operators times
// of their own, and holds what comes out against hand-made results. While no time
// passes, nothing is forgotten.
func TestStateTTLHint(t *testing.T) {
	for _, c := range []struct{ name, hinted, plain, mode, want, verdict string }{
		// x lives an hour, y a day: b 3 comes an hour after a 2 and too late; a 3 finds b 2,
		// a 4 finds b 1 and 3; a day later they are forgotten, too.
		{"inner join", "SELECT /*+ STATE_TTL('x' = '1h', 'Y' = '1 day') */ x.id AS l, y.id AS r FROM a x JOIN b y ON x.k = y.k",
			"SELECT x.id AS l, y.id AS r FROM a x JOIN b y ON x.k = y.k", "append",
			"[1 1][2 1][3 2][4 1][4 3][6 5]", "time to live"},
		{"one side", "SELECT /*+ STATE_TTL('x' = '1h') */ x.id AS l, y.id AS r FROM a x JOIN b y ON x.k = y.k",
			"SELECT x.id AS l, y.id AS r FROM a x JOIN b y ON x.k = y.k", "append",
			"[1 1][2 1][3 2][4 1][4 3][5 1][5 3][6 2][6 5]", "in part by a time to live (1h0m0s, for ever)"},
		{"aggregate", "SELECT /*+ STATE_TTL('x' = '2h') */ k, count(*) AS n FROM a x GROUP BY k",
			"SELECT k, count(*) AS n FROM a x GROUP BY k", "update", "[p 1][q 1]", "time to live"},
		{"distinct", "SELECT /*+ STATE_TTL('a' = '2h') */ DISTINCT k FROM a", "SELECT DISTINCT k FROM a", "append",
			"[p][p][q][q]", "time to live"},
		{"window function", "SELECT /*+ STATE_TTL('a' = '2h') */ id, row_number() OVER (PARTITION BY k ORDER BY id) AS r FROM a",
			"SELECT id, row_number() OVER (PARTITION BY k ORDER BY id) AS r FROM a", "changelog", "[1 1][2 2][3 1][4 3][5 1][6 1]", "time to live"},
		{"join inside, aggregate outside", "SELECT /*+ STATE_TTL('j' = '2h') */ k, count(*) AS n FROM (SELECT x.k FROM a x JOIN b y ON x.k = y.k) j GROUP BY k",
			"SELECT k, count(*) AS n FROM (SELECT x.k FROM a x JOIN b y ON x.k = y.k) j GROUP BY k", "update", "", "time to live"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, verdicts := ttlRun(t, c.hinted, c.mode, nil, true)
			last := strings.Split(strings.ReplaceAll(strings.Trim(got[len(got)-1], "[]"), "][", "\n"), "\n")
			want := strings.Split(strings.ReplaceAll(strings.Trim(c.want, "[]"), "][", "\n"), "\n")
			slices.Sort(last)
			slices.Sort(want)
			if c.want != "" && !slices.Equal(last, want) {
				t.Errorf("got %v, want %v", last, want)
			}
			if !strings.Contains(verdicts, c.verdict) {
				t.Errorf("EXPLAIN does not tell %q:\n%s", c.verdict, verdicts)
			}
			still, _ := ttlRun(t, c.hinted, c.mode, nil, false)
			plain, _ := ttlRun(t, c.plain, c.mode, nil, false)
			if !slices.Equal(still, plain) {
				t.Errorf("without time passing: %v, without the hint %v", still, plain)
			}
			later, _ := ttlRun(t, c.plain, c.mode, nil, true)
			if !slices.Equal(later, plain) {
				t.Errorf("without a hint time changes the result: %v, %v", later, plain)
			}
			if slices.Equal(got, plain) {
				t.Errorf("the hint changes nothing")
			}
		})
	}
}

func TestStateTTLHintRefused(t *testing.T) {
	s := openSession(t, Options{})
	for query, want := range map[string]string{
		"SELECT /*+ STATE_TTL('z' = '1 day') */ x.id FROM range(3) x":                            `names "z", which is no table or alias of this SELECT; there are "x"`,
		"SELECT /*+ STATE_TTL('x' = 'soon') */ x.id FROM range(3) x":                             `the time "soon"`,
		"SELECT /*+ STATE_TTL(x = '1 day') */ x.id FROM range(3) x":                              "is written STATE_TTL('table or alias' = '1 day', ..)",
		"SELECT /*+ STATE_TTL('x' = '1 day' 'y' = '2 days') */ x.id FROM range(3) x, range(2) y": "is written STATE_TTL('table or alias' = '1 day', ..)",
	} {
		_, err := tryRows(t, s, query)
		wantError(t, err, want)
	}
	for _, query := range []string{"SELECT /*+ BROADCAST(x) */ x.id FROM range(3) x", "SELECT /*+ STATE_TTL('x' = '3d'), BROADCAST(y) */ x.id FROM range(3) x", "SELECT /* STATE_TTL( */ id FROM range(3) x"} {
		if got := fmt.Sprint(scanRows(t, s, query)); got != "[[0] [1] [2]]" {
			t.Errorf("%s gives %s", query, got)
		}
	}
}

// TestStateTTLOfDataFrames gives the same times as the hint.
func TestStateTTLOfDataFrames(t *testing.T) {
	s := openSession(t, Options{})
	streamOf(t, s, "a", "id BIGINT, k STRING")
	streamOf(t, s, "b", "id BIGINT, k STRING")
	join := s.Table("a").Join(s.Table("b"), []string{"k"}, "inner")
	got := &collected{}
	explain := func(d *DataFrame, name string) string {
		t.Helper()
		q, err := d.ForeachBatch(got.add).Name(name).Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer q.Stop()
		return q.Explain()
	}
	for name, c := range map[string]struct {
		d    *DataFrame
		want string
	}{
		"both": {join.Select("a.id").StateTTL(time.Hour), "bounded by its time to live: what has not changed for 1h0m0s"},
		"left": {join.Select("a.id").StateTTL(time.Hour, 0), "in part by a time to live (1h0m0s, for ever)"},
	} {
		if got := explain(c.d, name); !strings.Contains(got, c.want) {
			t.Errorf("%s: EXPLAIN does not tell %q:\n%s", name, c.want, got)
		}
	}
	for _, d := range []*DataFrame{s.Table("a").StateTTL(time.Hour), join.StateTTL(-time.Hour), s.Table("a").Distinct().StateTTL(time.Hour, time.Hour), join.StateTTL()} {
		if d.err == nil {
			t.Error("a time to live is taken where there is none")
		}
	}
}

// TestStateTTLOfTimedOperators lets go of what a watermark leaves: the side of a join
// whose times are bounded from one end alone, and the last versions of keys.
func TestStateTTLOfTimedOperators(t *testing.T) {
	for name, query := range map[string]string{
		"interval join": "SELECT x.k, y.k AS other FROM a x JOIN b y ON x.k = y.k AND x.ts >= y.ts",
		"temporal join": "SELECT x.k, y.k AS other FROM a x JOIN b FOR SYSTEM_TIME AS OF x.ts AS y ON x.k = y.k",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				s, err := NewSession(Options{CheckpointDir: dir, Logger: slog.New(slog.DiscardHandler), Stdout: io.Discard, Settings: map[string]string{"state.ttl": "1 hour"}})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				a, b := timedStream(t, s, "a"), timedStream(t, s, "b")
				must(t, s, "CREATE TABLE dst (k BIGINT, other BIGINT) WITH ('connector'='memory')")
				must(t, s, "CREATE STREAMING QUERY q AS INSERT INTO dst "+query)
				q, _ := s.Query("q")
				if !strings.Contains(q.Explain(), "bounded by its time to live") {
					t.Errorf("EXPLAIN tells of no time to live:\n%s", q.Explain())
				}
				step := func(rows string, want int) {
					t.Helper()
					add(t, a, rows)
					add(t, b, rows)
					process(t, q)
					<-time.After(2 * time.Hour)
					if got := scanRows(t, s, "SELECT * FROM dst WHERE k = 1"); len(got) != want {
						t.Errorf("%d rows, want %d: %v", len(got), want, got)
					}
				}
				first := 0 // a version is sure once the watermark has passed
				if name == "interval join" {
					first = 1
				}
				step("2026-01-01 00:00:01,1", first)
				step("2026-01-01 00:10:00,2", 1)
				step("2026-01-01 00:20:00,2", 1)
				add(t, a, "2026-01-01 00:30:00,1") // what it could meet is forgotten
				add(t, b, "2026-01-01 00:30:00,2")
				process(t, q)
				step("2026-01-01 00:50:00,2", 1)
				q.Stop()
			})
		})
	}
}
