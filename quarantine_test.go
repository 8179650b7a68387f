package sluice

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// putFile writes a file and the folders above it.
func putFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestQuarantineOfABatch reads files of each format with bad rows among good ones:
// the good ones come out, the bad ones lie in the table, with their place and text.
func TestQuarantineOfABatch(t *testing.T) {
	for _, c := range []struct{ format, columns, text, good, bad string }{
		{"csv", "id INT, k STRING", "id,k\n1,a\nx,b\n3,\"c\n4,d\n5,e,f\n6,g\n", "[[1 a] [4 d] [6 g]]",
			"[[3 9 x,b] [4 13 3,\"c] [6 22 5,e,f]]"},
		{"json", "id INT, k STRING", "{\"id\":1,\"k\":\"a\"}\n{\"id\":\"x\"}\n{broken\n{\"id\":4,\"k\":\"d\"}\n", "[[1 a] [4 d]]",
			"[[2 17 {\"id\":\"x\"}] [3 28 {broken]]"},
		{"text", "k STRING", "one\n\xff\xfe\nthree\n", "[[one] [three]]", "[[2 4 \ufffd\ufffd]]"},
	} {
		t.Run(c.format, func(t *testing.T) {
			s, dir := openSession(t, Options{}), t.TempDir()
			putFile(t, filepath.Join(dir, "in", "a."+c.format), c.text)
			must(t, s, fmt.Sprintf("CREATE TABLE src (%s) WITH ('connector'='filesystem','path'='%s/in','format'='%s','bad-rows'='quarantine','quarantine-table'='bad')", c.columns, dir, c.format))
			if got := fmt.Sprint(scanRows(t, s, "SELECT * FROM src")); got != c.good {
				t.Errorf("good rows: %s, want %s", got, c.good)
			}
			raw := "CAST(raw AS STRING)"
			if c.format == "text" {
				raw = "'\ufffd\ufffd'"
			}
			if got := fmt.Sprint(scanRows(t, s, "SELECT line, position, "+raw+" FROM bad ORDER BY line")); got != c.bad {
				t.Errorf("bad rows: %s, want %s", got, c.bad)
			}
			if got := scanRows(t, s, "SELECT count(*) FROM bad WHERE reason IS NOT NULL AND source = 'src' AND file LIKE '%/in/a.%' AND quarantined_at IS NOT NULL"); fmt.Sprint(got) == "[[0]]" {
				t.Error("source, file or reason are missing")
			}
		})
	}
}

// TestPolicyForRowsThatCannotBeComputed holds the three policies of a cast and a
// division against each other.
func TestPolicyForRowsThatCannotBeComputed(t *testing.T) {
	s := openSession(t, Options{})
	must(t, s, "CREATE VIEW v AS SELECT * FROM (VALUES (1, '7'), (0, '8'), (2, 'x'), (5, '9')) AS v(d, k)")
	const text = "SELECT d, 10 DIV d AS q, CAST(k AS INT) AS k FROM v WHERE d < 10 ORDER BY d"
	rows, err := tryRows(t, s, text)
	if err == nil {
		t.Errorf("fail gives %v", rows)
	}
	must(t, s, "SET 'errors.policy' = 'null'")
	if got := fmt.Sprint(scanRows(t, s, text)); got != "[[0 NULL 8] [1 10 7] [2 5 NULL] [5 2 9]]" {
		t.Errorf("null gives %s", got)
	}
	must(t, s, "SET 'errors.policy' = 'quarantine'; SET 'errors.table' = 'bad'")
	if got := fmt.Sprint(scanRows(t, s, text)); got != "[[1 10 7] [5 2 9]]" {
		t.Errorf("quarantine gives %s", got)
	}
	if got := fmt.Sprint(scanRows(t, s, "SELECT sum(10 DIV d), count(CAST(k AS INT)) FROM v GROUP BY d > 100")); got != "[[12 2]]" {
		t.Errorf("an aggregate under quarantine gives %s", got)
	}
	if got := fmt.Sprint(scanRows(t, s, "SELECT d FROM v WHERE 10 DIV d = 5 OR CAST(k AS INT) > 8 ORDER BY d")); got != "[[2] [5]]" && got != "[[5]]" {
		t.Errorf("a filter under quarantine gives %s", got)
	}
	must(t, s, "SET 'errors.policy' = 'fail'")
	got := fmt.Sprint(scanRows(t, s, "SELECT DISTINCT CAST(raw AS STRING) FROM bad ORDER BY 1"))
	for _, want := range []string{`"d":0`, `"k":"x"`} {
		if !strings.Contains(got, want) {
			t.Errorf("bad rows: %s, want one with %s", got, want)
		}
	}
}

// TestBalanceOfAStream counts every row that comes into a streaming query, and
// goes on under quarantine with a query that a bad row has stopped.
func TestBalanceOfAStream(t *testing.T) {
	dir := t.TempDir()
	script := func(bad, policy string) string {
		return fmt.Sprintf(`SET 'errors.policy' = '%[3]s';
CREATE TABLE src (id INT, k STRING) WITH ('connector'='filesystem','path'='%[1]s/in','format'='csv','bad-rows'='%[2]s','max-files-per-trigger'='1');
CREATE TABLE dst (id INT, k INT) WITH ('connector'='filesystem','path'='%[1]s/out','format'='csv');
CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW CHECKPOINT '%[1]s/ck' AS INSERT INTO dst SELECT id, CAST(k AS INT) FROM src WHERE id > 1`, dir, bad, policy)
	}
	putFile(t, filepath.Join(dir, "in", "a.csv"), "id,k\n1,1\n2,2\n")
	putFile(t, filepath.Join(dir, "in", "b.csv"), "id,k\nx,3\n4,y\n5,5\n")
	s := openSession(t, Options{})
	must(t, s, script("fail", "fail"))
	wantError(t, s.AwaitAll(t.Context()), `b.csv", line 2`)
	s = openSession(t, Options{})
	must(t, s, script("quarantine", "quarantine"))
	if err := s.AwaitAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	q, _ := s.Query("q")
	for _, p := range q.Recent() {
		if !p.Balance.Balanced() {
			t.Errorf("batch %d: %+v is not balanced", p.BatchID, p.Balance)
		}
	}
	p := q.Progress()
	if b := p.Balance; b.In != 3 || b.Used != 1 || b.Quarantined != 2 || p.Sink.NumOutputRows != 1 || p.QuarantinedRows != 2 || q.Totals().Quarantined != 2 {
		t.Errorf("the last batch has %+v, %d out, total %+v", b, p.Sink.NumOutputRows, q.Totals())
	}
	if got := fmt.Sprint(scanRows(t, s, "SELECT id, k FROM dst ORDER BY id")); got != "[[2 2] [5 5]]" {
		t.Errorf("result %s", got)
	}
	if got := fmt.Sprint(scanRows(t, s, "SELECT query, batch_id, source, line, CAST(raw AS STRING) FROM q_quarantine ORDER BY line NULLS LAST")); got != `[[q 1 src 2 x,3] [q 1 src NULL {"id":4,"k":"y"}]]` {
		t.Errorf("bad rows %s", got)
	}
	explained(t, s, q)
}

// explained reads the explanations of a query that has ended.
func explained(t *testing.T, s *Session, q *Query) {
	t.Helper()
	for stmt, wants := range map[string][]string{
		"EXPLAIN WATERMARK q": {"no source of the query has a watermark"},
		"EXPLAIN BATCH q 1":   {"Batch 1 of q", "rows in 3, out 1, late 0, quarantined 2", "addBatch", "Scan src#0", "Filter"},
		"EXPLAIN q":           {"Streaming query q"},
	} {
		text := fmt.Sprint(scanRows(t, s, stmt))
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s does not tell %q:\n%s", stmt, want, text)
			}
		}
	}
	_, err := tryRows(t, s, "EXPLAIN BATCH q 77")
	wantError(t, err, "remembers 1 to 1")
	b, err := json.Marshal(q.Progress())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"id", "runId", "name", "timestamp", "batchId", "batchDuration", "numInputRows", "inputRowsPerSecond",
		"processedRowsPerSecond", "durationMs", "eventTime", "stateOperators", "sources", "description", "startOffset", "endOffset",
		"latestOffset", "metrics", "sink", "numOutputRows", "observedMetrics", "rowBalance"} {
		if !strings.Contains(string(b), `"`+key+`":`) {
			t.Errorf("progress has no %q: %s", key, b)
		}
	}
}

// tryRows runs one statement and returns its rows as slices of text.
func tryRows(t *testing.T, s *Session, stmt string) (rows []string, err error) {
	t.Helper()
	err = s.Run(t.Context(), stmt, func(r *Result) error {
		if r.Rows == nil {
			return nil
		}
		rows = nil
		for {
			rec, err := r.Rows.Next(t.Context())
			if err == io.EOF {
				return r.Rows.Close()
			}
			if err != nil {
				return errors.Join(err, r.Rows.Close())
			}
			for i := range int(rec.NumRows()) {
				cells := make([]string, rec.NumCols())
				for c := range cells {
					if cells[c] = "NULL"; rec.Column(c).IsValid(i) {
						cells[c] = rec.Column(c).ValueStr(i)
					}
				}
				rows = append(rows, "["+strings.Join(cells, " ")+"]")
			}
			rec.Release()
		}
	})
	return rows, err
}

func scanRows(t *testing.T, s *Session, stmt string) []string {
	t.Helper()
	rows, err := tryRows(t, s, stmt)
	if err != nil {
		t.Fatalf("%s: %v", stmt, err)
	}
	return rows
}

// TestReplayQuarantine lets bad rows come again once their table takes them: each
// once, however often the statement is given and wherever a crash cuts it off.
func TestReplayQuarantine(t *testing.T) {
	dir := t.TempDir()
	open := func(ragged, policy string) *Session {
		s := openSession(t, Options{})
		must(t, s, fmt.Sprintf(`SET 'errors.policy' = '%[3]s';
CREATE TABLE src (id INT, k STRING) WITH ('connector'='filesystem','path'='%[1]s/in','format'='csv','bad-rows'='quarantine','csv.ragged-rows'='%[2]s');
CREATE TABLE dst (id INT, q INT) WITH ('connector'='filesystem','path'='%[1]s/out','format'='csv');
CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW CHECKPOINT '%[1]s/ck' AS INSERT INTO dst SELECT id, 10 DIV id FROM src WHERE k <> 'z'`, dir, ragged, policy))
		if err := s.AwaitAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s
	}
	putFile(t, filepath.Join(dir, "in", "a.csv"), "id,k\n1,a\n2\nx,b\n0,c\n")
	s := open("fail", "quarantine")
	if got := fmt.Sprint(scanRows(t, s, "SELECT * FROM dst")); got != "[[1 10]]" {
		t.Fatalf("before: %s", got)
	}
	s = open("pad", "null")
	must(t, s, "REPLAY QUARANTINE FOR q WHERE reason LIKE '%too few%'")
	cutOff(t, dir)
	must(t, s, "REPLAY QUARANTINE FOR q; REPLAY QUARANTINE FOR q; START STREAMING QUERY q")
	if err := s.AwaitAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The row of one field has no k now, which is not <> 'z'; that of 0 has no
	// quotient; x is no number still.
	if got := fmt.Sprint(scanRows(t, s, "SELECT * FROM dst ORDER BY id")); got != "[[0 NULL] [1 10]]" {
		t.Errorf("after: %s", got)
	}
	if got := fmt.Sprint(scanRows(t, s, "SELECT batch_id, CAST(raw AS STRING) FROM q_quarantine ORDER BY batch_id, 2")); got != `[[0 2] [0 x,b] [0 {"id":0,"k":"c"}] [1 x,b]]` {
		t.Errorf("bad rows: %s", got)
	}
	notes, err := os.ReadDir(filepath.Join(dir, "ck", replayDir))
	if err != nil || len(notes) != 3 {
		t.Fatalf("%d notes, %v", len(notes), err)
	}
	_, err = tryRows(t, s, "REPLAY QUARANTINE FOR nobody")
	wantError(t, err, "no streaming query")
}

// cutOff leaves the only replay as a crash does between its note and its file.
func cutOff(t *testing.T, dir string) {
	t.Helper()
	for pattern, to := range map[string]func(string) error{
		filepath.Join(dir, "in", "replay-*"): os.Remove,
		filepath.Join(dir, "ck", replayDir, "*"+notePlaced): func(name string) error {
			return os.Rename(name, strings.TrimSuffix(name, notePlaced)+noteOpen)
		},
	} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) != 1 {
			t.Fatalf("%s: %v %v", pattern, names, err)
		}
		if err := to(names[0]); err != nil {
			t.Fatal(err)
		}
	}
}
