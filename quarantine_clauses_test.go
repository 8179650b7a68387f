package sluice

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// badClauses are queries over src with a part that cannot be computed for the row
// with d = 0 (and where said, for others). As a stream they put out what mode says.
var badClauses = []struct {
	name, query string
	mode        string // of a stream; "" for a query that is run once only
	bad         string // IDs of the rows that are set aside; "" for 3 alone
	derived     bool   // what is set aside is no row of the source
	ordered     bool
}{
	{name: "select", query: "SELECT id, 10 DIV d AS q FROM src", mode: "append"},
	{name: "select behind a projection", query: "SELECT id, 10 DIV e AS q FROM (SELECT id, d AS e FROM src WHERE id < 100)", mode: "append"},
	{name: "where", query: "SELECT id FROM src WHERE 10 DIV d > 1", mode: "append"},
	{name: "cast of bad JSON", query: "SELECT id, CAST(get_json_object(j, '$.a') AS INT) AS q FROM src", mode: "append", bad: "5"},
	{name: "decimal that is too large", query: "SELECT id, CAST(w AS DECIMAL(4,2)) AS q FROM src", mode: "append", bad: "2"},
	{name: "overflow", query: "SELECT id, CAST(w AS INT) * 100000000 AS q FROM src", mode: "append", bad: "2"},
	{name: "group by", query: "SELECT 10 DIV d AS g, count(*) AS n8 FROM src GROUP BY 10 DIV d", mode: "changelog"},
	{name: "aggregate's argument", query: "SELECT k, sum(10 DIV d) AS n13 FROM src GROUP BY k", mode: "changelog"},
	{name: "aggregate without keys", query: "SELECT sum(10 DIV d) AS n13,  count(*) AS n8 FROM src", mode: "changelog"},
	{name: "aggregate's filter", query: "SELECT k, count(*) FILTER (WHERE 10 DIV d > 1) AS n27 FROM src GROUP BY k", mode: "changelog"},
	{name: "distinct aggregate", query: "SELECT k, count(DISTINCT 10 DIV d) AS n24 FROM src GROUP BY k", mode: "changelog"},
	{name: "ordered aggregate", query: "SELECT k, array_agg(id ORDER BY 10 DIV d, id) AS n13 FROM src GROUP BY k", mode: "changelog"},
	{name: "recomputed aggregate", query: "SELECT k, median(10 DIV d) AS n16 FROM src GROUP BY k", mode: "changelog"},
	{name: "distinct", query: "SELECT DISTINCT 10 DIV d AS q FROM src", mode: "append"},
	{name: "key of a join", query: "SELECT a.id, b.n FROM src a JOIN dim b ON 10 DIV a.d = b.n", mode: "append"},
	{name: "key of an outer join", query: "SELECT a.id, b.n FROM src a LEFT JOIN dim b ON 10 DIV a.d = b.n", mode: "append"},
	{name: "key of a join of streams", query: "SELECT a.id, b.id AS other FROM src a JOIN other b ON 10 DIV a.d = b.d", mode: "append"},
	{name: "key of a semi join", query: "SELECT id FROM src WHERE 10 DIV d IN (SELECT d FROM other)", mode: "changelog"},
	{name: "condition of a join", query: "SELECT a.id, b.id AS other FROM src a JOIN other b ON a.k = b.k AND 10 DIV (a.d - b.d + 1) > 0", mode: "append", derived: true},
	{name: "condition of an outer join", query: "SELECT a.id, b.id AS other FROM src a LEFT JOIN other b ON a.k = b.k AND 10 DIV (a.d - b.d + 1) > 0", mode: "changelog", derived: true},
	{name: "condition of an interval join", query: "SELECT a.id, b.id AS other FROM src a JOIN other b ON a.k = b.k AND a.ts BETWEEN b.ts - INTERVAL '1' HOUR AND b.ts + INTERVAL '1' HOUR AND 10 DIV (a.d - b.d + 1) > 0", mode: "append", derived: true},
	{name: "key of an interval join", query: "SELECT a.id, b.id AS other FROM src a JOIN other b ON 10 DIV a.d = b.d AND a.ts BETWEEN b.ts - INTERVAL '1' HOUR AND b.ts + INTERVAL '1' HOUR", mode: "append"},
	{name: "window function", query: "SELECT id, sum(10 DIV d) OVER (PARTITION BY k ORDER BY id) AS n12 FROM src", mode: "changelog"},
	{name: "partition of a window function", query: "SELECT id, count(*) OVER (PARTITION BY 10 DIV d) AS n FROM src", mode: "changelog"},
	{name: "order of a window function", query: "SELECT id, row_number() OVER (PARTITION BY k ORDER BY 10 DIV d, id) AS n13 FROM src", mode: "changelog"},
	{name: "lag", query: "SELECT id, lag(10 DIV d) OVER (ORDER BY id) AS n12 FROM src", mode: "changelog"},
	{name: "first by rank", query: "SELECT id, k FROM (SELECT *, row_number() OVER (PARTITION BY k ORDER BY 10 DIV d, id) AS r FROM src) WHERE r = 1", mode: "changelog"},
	{name: "order by", query: "SELECT id FROM src ORDER BY 10 DIV d, id", ordered: true},
	{name: "top", query: "SELECT id FROM src ORDER BY 10 DIV d, id LIMIT 3", mode: "changelog", ordered: true},
	{name: "explode", query: "SELECT id, x FROM src LATERAL VIEW explode(sequence(1, 10 DIV d)) t AS x", mode: "append"},
	{name: "window of a time", query: "SELECT window_start, count(*) AS n8 FROM TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '10' MINUTE) GROUP BY window_start, window_end, 10 DIV d", mode: "changelog"},
	{name: "window of a computed time", query: "SELECT window(CAST(concat('2026-01-01 00:0', w) AS TIMESTAMP), '1 minute').start AS n6,  count(*) AS n8 FROM src GROUP BY 1", mode: "changelog", bad: "2"},
	{name: "union", query: "SELECT id, 10 DIV d AS q FROM src UNION SELECT id, d FROM other", mode: "append"},
	{name: "except", query: "SELECT 10 DIV d AS q FROM src EXCEPT SELECT d FROM other", mode: "changelog"},
	{name: "measure of a pattern", query: "SELECT * FROM src MATCH_RECOGNIZE (PARTITION BY k ORDER BY id MEASURES a.id AS a, 10 DIV a.d AS q PATTERN (a) DEFINE a AS a.id > 0)", mode: "changelog", derived: true},
}

const badSource = "id INT, k STRING, d INT, w STRING, j STRING, ts TIMESTAMP"

var badRows = []string{
	`1,a,1,1,"{""a"":""1""}",2026-01-01 00:01:00`,
	`2,b,2,300,"{""a"":""2""}",2026-01-01 00:02:00`,
	`3,a,0,3,"{""a"":""3""}",2026-01-01 00:03:00`,
	`4,b,5,4,"{""a"":""4""}",2026-01-01 00:14:00`,
	`5,a,3,5,"{""a"":""x""}",2026-01-01 00:15:00`,
	`6,a,2,6,"{""a"":""6""}",2026-01-01 00:16:00`,
}

func badFile(ids ...int) string {
	text := "id,k,d,w,j,ts\n"
	for _, id := range ids {
		text += badRows[id-1] + "\n"
	}
	return text
}

// badTables declares src over files, which has the bad rows, and two that have none.
func badTables(dir, src string) string {
	return fmt.Sprintf(`
CREATE TABLE src (%[3]s, WATERMARK FOR ts AS ts - INTERVAL '1' DAY) WITH ('connector'='filesystem','path'='%[1]s/%[2]s','format'='csv','max-files-per-trigger'='1');
CREATE TABLE other (%[3]s, WATERMARK FOR ts AS ts - INTERVAL '1' DAY) WITH ('connector'='filesystem','path'='%[1]s/other','format'='csv','max-files-per-trigger'='1');
CREATE TABLE dim (n INT) WITH ('connector'='filesystem','path'='%[1]s/dim.csv');
`, dir, src, badSource)
}

// TestBadRowInEachClause holds a query over rows of which one cannot be computed
// against the same query over the others. The bad row is set aside once.
func TestBadRowInEachClause(t *testing.T) {
	for _, c := range badClauses {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			bad := c.bad
			if bad == "" {
				bad = "3"
			}
			for i, ids := range [][]int{{1, 2}, {3, 4}, {5, 6}} {
				putFile(t, filepath.Join(dir, "in", fmt.Sprintf("f%d.csv", i)), badFile(ids...))
				ids = slices.DeleteFunc(ids, func(id int) bool { return fmt.Sprint(id) == bad && !c.derived })
				putFile(t, filepath.Join(dir, "good", fmt.Sprintf("f%d.csv", i)), badFile(ids...))
			}
			putFile(t, filepath.Join(dir, "other", "o.csv"), badFile(4, 5, 6))
			putFile(t, filepath.Join(dir, "dim.csv"), "n\n1\n2\n5\n10\n")
			query := c.query
			if c.derived { // a pair that cannot be compared is no pair, a match that cannot be measured no match
				query = strings.NewReplacer("10 DIV (a.d - b.d + 1) > 0", "10 DIV nullif(a.d - b.d + 1, 0) > 0", "a.id > 0", "a.d > 0").Replace(query)
			}
			s := openSession(t, Options{})
			must(t, s, badTables(dir, "good"))
			want := sortedUnless(c.ordered, scanRows(t, s, query))
			if _, err := tryRows(t, sessionOver(t, badTables(dir, "in")), c.query); err == nil {
				t.Errorf("the query has no bad row")
			}
			s = sessionOver(t, badTables(dir, "in")+"SET 'errors.policy' = 'quarantine'")
			if got := sortedUnless(c.ordered, scanRows(t, s, c.query)); !slices.Equal(got, want) {
				t.Errorf("a batch gives %v, want %v", got, want)
			}
			wantBad(t, s, "quarantine", bad, c.derived)
			if c.mode != "" {
				for _, parallelism := range []int{1, 3} {
					badClauseAsStream(t, dir, c.query, c.mode, bad, c.derived, want, parallelism)
				}
			}
		})
	}
}

// badClauseAsStream runs the query file by file, and nets its changes.
func badClauseAsStream(t *testing.T, dir, query, mode, bad string, derived bool, want []string, parallelism int) {
	t.Helper()
	out := filepath.Join(dir, fmt.Sprint("out", parallelism))
	s := sessionOver(t, badTables(dir, "in")+fmt.Sprintf(`SET 'errors.policy' = 'quarantine'; SET 'parallelism' = %[3]d;
CREATE TABLE dst WITH ('connector'='memory') AS SELECT * FROM (%[4]s) LIMIT 0;
DROP TABLE IF EXISTS quarantine;
CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW OUTPUT MODE %[2]s CHECKPOINT '%[1]s/ck' AS INSERT INTO dst %[4]s`, out, mode, parallelism, query))
	if err := s.AwaitAll(t.Context()); err != nil {
		t.Fatalf("as a stream: %v", err)
	}
	if got := sortedUnless(false, scanRows(t, s, "SELECT * FROM dst")); !slices.Equal(got, sortedUnless(false, slices.Clone(want))) {
		t.Errorf("a stream of %d tasks gives %v, want %v", parallelism, got, want)
	}
	q, _ := s.Query("q")
	for _, p := range q.Recent() {
		if !p.Balance.Balanced() {
			t.Errorf("batch %d: %+v is not balanced", p.BatchID, p.Balance)
		}
	}
	wantBad(t, s, "q_quarantine", bad, derived)
	if derived {
		_, err := tryRows(t, s, "REPLAY QUARANTINE FOR q")
		wantError(t, err, "no row of")
		return
	}
	// Once its value may be NULL the row comes again, and is then as if it had never been bad.
	must(t, s, "SET 'errors.policy' = 'null'; REPLAY QUARANTINE FOR q; REPLAY QUARANTINE FOR q; START STREAMING QUERY q")
	if err := s.AwaitAll(t.Context()); err != nil {
		t.Fatalf("as a stream, after a replay: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "in", "replay-*"))
	if err != nil || len(files) != 1 {
		t.Errorf("replays made %v, %v", files, err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	got, again := sortedUnless(false, scanRows(t, s, "SELECT * FROM dst")), sortedUnless(false, scanRows(t, s, query))
	if !slices.Equal(got, again) {
		t.Errorf("after a replay a stream of %d tasks gives %v, want %v", parallelism, got, again)
	}
}

// wantBad looks for the bad rows in a quarantine.
func wantBad(t *testing.T, s *Session, table, ids string, derived bool) {
	t.Helper()
	got := scanRows(t, s, "SELECT coalesce(source, '-'), CAST(raw AS STRING) FROM "+table+" ORDER BY 2")
	if derived {
		if len(got) == 0 || !strings.HasPrefix(got[0], "[- ") {
			t.Errorf("%s has %v, want rows of no source", table, got)
		}
		return
	}
	sign := map[string]string{"2": `"w":"300"`, "3": `"d":0`, "5": `{\"a\":\"x\"}`}[ids]
	if len(got) != 1 || !strings.HasPrefix(got[0], "[src ") || !strings.Contains(got[0], sign) {
		t.Errorf("%s has %v, want the row of src with %s", table, got, sign)
	}
}

func sessionOver(t *testing.T, script string) *Session {
	t.Helper()
	s := openSession(t, Options{})
	must(t, s, script)
	return s
}

func sortedUnless(ordered bool, rows []string) []string {
	if !ordered {
		slices.Sort(rows)
	}
	return rows
}
