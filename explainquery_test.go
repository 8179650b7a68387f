package sluice

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExplainWatermark asks why two streams that are joined wait: the slower one
// holds the watermark back, and windows wait for it.
func TestExplainWatermark(t *testing.T) {
	s := openSession(t, Options{})
	a := timedStream(t, s, "fast")
	b := timedStream(t, s, "slow")
	must(t, s, `CREATE TABLE dst (w TIMESTAMP_NTZ, n BIGINT) WITH ('connector'='memory')`)
	must(t, s, `CREATE STREAMING QUERY q AS INSERT INTO dst SELECT window_start, count(*) FROM
 (SELECT window_start, window_end, k FROM TUMBLE(TABLE fast, DESCRIPTOR(ts), INTERVAL '10' SECOND) UNION ALL
  SELECT window_start, window_end, k FROM TUMBLE(TABLE slow, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end`)
	q, _ := s.Query("q")
	explainHas(t, s, "EXPLAIN WATERMARK q", "watermark: none yet", "no event time yet")
	add(t, a, "2024-01-01T00:01:00,1\n2024-01-01T00:00:03,1")
	process(t, q)
	explainHas(t, s, "EXPLAIN WATERMARK q", "no row with an event time has come from it")
	add(t, b, "2024-01-01T00:00:07,2")
	process(t, q)
	explainHas(t, s, "EXPLAIN WATERMARK q", "watermark: 2024-01-01T00:00:02Z", "slow#0: highest event time 2024-01-01T00:00:07Z, less 5s",
		"HOLDS THE WATERMARK BACK", "until rows later than 2024-01-01T00:00:07Z come", "ends at 2024-01-01T00:00:10Z, 8s past the watermark", ": 2 windows wait, ending at 2024-01-01T00:00:10Z, 2024-01-01T00:01:10Z; 2 rows of state")
	explainHas(t, s, "EXPLAIN BATCH q 1", "Batch 1 of q", "rows in 1", "commitOffsets", "StatefulAggregate", "State ")
	for path, want := range map[string]string{"q/watermark": "HOLDS THE WATERMARK BACK", "q/batches/1": `"operators"`, "q/batches/99": "not remembered", "nobody/watermark": "no query"} {
		r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1/api/queries/"+path, nil)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s does not tell %q: %s", path, want, w.Body)
		}
	}
	p := q.Progress()
	if e := p.EventTime; e.Min == "" || e.Min != e.Max || e.Avg != e.Max {
		t.Errorf("event times %+v", e)
	}
	if o := p.StateOperators; len(o) != 1 || o[0].NumRowsTotal != 2 || o[0].NumRowsUpdated != 1 {
		t.Errorf("state %+v", o)
	}
}

// TestExplainWatermarkAfterARestart finds the windows again that a state holds.
func TestExplainWatermarkAfterARestart(t *testing.T) {
	dir := t.TempDir()
	run := func(parallelism int) (*Session, *Query) {
		s := openSession(t, Options{})
		must(t, s, fmt.Sprintf(`SET 'parallelism' = %[2]d;
CREATE TABLE src (ts TIMESTAMP, k INT, WATERMARK FOR ts AS ts - INTERVAL '1' MINUTE) WITH ('connector'='filesystem','path'='%[1]s/in','format'='csv');
CREATE TABLE dst (w TIMESTAMP, k INT, n BIGINT) WITH ('connector'='filesystem','path'='%[1]s/out','format'='csv');
CREATE STREAMING QUERY q CHECKPOINT '%[1]s/ck' AS INSERT INTO dst SELECT window_end, k, count(*) FROM TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY window_start, window_end, k`, dir, parallelism))
		q, _ := s.Query("q")
		return s, q
	}
	text := "ts,k\n"
	for i := range 40 {
		text += fmt.Sprintf("2026-01-01 00:00:%02d,%d\n", i, i)
	}
	putFile(t, filepath.Join(dir, "in", "a.csv"), text)
	s, q := run(3)
	process(t, q)
	explainHas(t, s, "EXPLAIN WATERMARK q", "4 windows wait, ending at 2026-01-01T00:00:10Z, 2026-01-01T00:00:20Z, 2026-01-01T00:00:30Z, 2026-01-01T00:00:40Z; 40 rows of state")
	if o := q.Progress().StateOperators; len(o) != 1 || o[0].CustomMetrics["windowsWaiting"] != 4 {
		t.Errorf("state %+v", o)
	}
	q.Stop()
	if err := q.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	putFile(t, filepath.Join(dir, "in", "b.csv"), "ts,k\n2026-01-01 00:01:21,1\n2026-01-01 00:01:22,1\n")
	s, q = run(2)
	process(t, q)
	explainHas(t, s, "EXPLAIN WATERMARK q", "3 windows wait, ending at 2026-01-01T00:00:30Z, 2026-01-01T00:00:40Z, 2026-01-01T00:01:30Z; 21 rows of state")
	q.Stop()
}

func explainHas(t *testing.T, s *Session, stmt string, wants ...string) {
	t.Helper()
	text := strings.Join(scanRows(t, s, stmt), "\n")
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%s does not tell %q:\n%s", stmt, want, text)
		}
	}
}

// timedStream makes a stream with a watermark of five seconds.
func timedStream(t *testing.T, s *Session, name string) *Stream {
	t.Helper()
	st := streamOf(t, s, name+"_raw", "ts TIMESTAMP_NTZ, k BIGINT")
	must(t, s, fmt.Sprintf("CREATE TABLE %[1]s (ts TIMESTAMP_NTZ, k BIGINT, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector'='memory', 'name'='%[1]s_raw')", name))
	return st
}

// TestExplainWatermarkNamesTheDirectory: with an option each value of a partition column
// has event times of its own, the slowest counts, and EXPLAIN names it.
func TestExplainWatermarkNamesTheDirectory(t *testing.T) {
	dir := t.TempDir()
	put := func(name, at string) {
		staged, to := filepath.Join(dir, "staged"), filepath.Join(dir, "in", name)
		putFile(t, staged, "ts,k\n"+at+",1\n")
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.Rename(staged, to)); err != nil {
			t.Fatal(err)
		}
	}
	put("region=eu/a.csv", "2024-01-01 00:01:00")
	put("region=us/a.csv", "2024-01-01 00:00:07")
	s := openSession(t, Options{Settings: map[string]string{"parallelism": "2"}})
	must(t, s, fmt.Sprintf(`CREATE TABLE src (ts TIMESTAMP_NTZ, k INT, region STRING, WATERMARK FOR ts AS ts)
 WITH ('connector'='filesystem', 'path'='%s/in', 'format'='csv', 'watermark.partition-column'='region', 'poll-interval'='1ms');
CREATE TABLE dst (w TIMESTAMP_NTZ, n BIGINT) WITH ('connector'='memory');
CREATE STREAMING QUERY q AS INSERT INTO dst SELECT window_end, count(*) FROM TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY window_start, window_end`, dir))
	q, _ := s.Query("q")
	process(t, q)
	explainHas(t, s, "EXPLAIN WATERMARK q", "watermark: 2024-01-01T00:00:07Z", "src#0 partition region=us: highest event time 2024-01-01T00:00:07Z",
		"src#0 partition region=eu: highest event time 2024-01-01T00:01:00Z", "held back by src#0#region=us since ")
	put("region=us/b.csv", "2024-01-01 00:02:00")
	process(t, q)
	explainHas(t, s, "EXPLAIN WATERMARK q", "watermark: 2024-01-01T00:01:00Z", "held back by src#0#region=eu since ")
	same(t, "closed", rowsOf(t, s.MemoryTable("dst").Select(Call("date_format", Col("w"), "mm:ss"), Col("n"))), "00:10|1")
	q.Stop()
	if err := q.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := q.ProcessAllAvailable(t.Context()); !errors.Is(err, ErrEnded) {
		t.Errorf("of a query that was stopped: %v", err)
	}
}
