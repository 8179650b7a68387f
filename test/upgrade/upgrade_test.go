//go:build linux

package upgrade

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// tables declare what is read and written; $DIR is the scene's folder.
const tables = `
CREATE TABLE src (k BIGINT, v BIGINT, ts TIMESTAMP_NTZ, WATERMARK FOR ts AS ts - INTERVAL '10' SECOND)
  WITH ('connector' = 'filesystem', 'path' = '$DIR/in', 'format' = 'csv', 'csv.header' = 'false', 'max-files-per-trigger' = '8');
CREATE TABLE copies (k BIGINT, v BIGINT) WITH ('connector' = 'filesystem', 'path' = '$DIR/out/copies', 'format' = 'csv', 'csv.header' = 'false');
CREATE TABLE windows (w TIMESTAMP_NTZ, k BIGINT, n BIGINT, total BIGINT) WITH ('connector' = 'filesystem', 'path' = '$DIR/out/windows', 'format' = 'csv', 'csv.header' = 'false');
`

// pipeline has a query without state, one whose answer changes with each row, and one
// whose windows close behind the watermark.
const pipeline = tables + `
CREATE TABLE counts (k BIGINT, n BIGINT, total BIGINT) WITH ('connector' = 'filesystem', 'path' = '$DIR/out/counts', 'format' = 'csv', 'csv.header' = 'false', 'changelog.op-column' = 'op');
CREATE STREAMING QUERY copying TRIGGER EVERY '20 ms' AS INSERT INTO copies SELECT k, v FROM src;
CREATE STREAMING QUERY counting OUTPUT MODE changelog TRIGGER EVERY '20 ms' AS INSERT INTO counts SELECT k, count(*), sum(v) FROM src GROUP BY k;
CREATE STREAMING QUERY closing OUTPUT MODE append TRIGGER EVERY '20 ms' AS
  INSERT INTO windows SELECT window_start, k, count(*), sum(v) FROM TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '1' MINUTE) GROUP BY window_start, window_end, k;
`

// queries are those of the pipeline.
var queries = []string{"copying", "counting", "closing"}

const (
	batchCounts = `SELECT k, count(*) AS n, sum(v) AS total FROM src GROUP BY k ORDER BY k`
	shownCounts = `CREATE TABLE shown (op STRING, k BIGINT, n BIGINT, total BIGINT) WITH ('connector' = 'filesystem', 'path' = '$DIR/out/counts', 'format' = 'csv', 'csv.header' = 'false');
SELECT k, n, total FROM (SELECT k, n, total, sum(CASE WHEN op IN ('+I', '+U') THEN 1 ELSE -1 END) AS alive FROM shown GROUP BY k, n, total) AS net WHERE alive <> 0 ORDER BY k, n`
	batchWindows = `SELECT window_start AS w, k, count(*) AS n, sum(v) AS total FROM TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '1' MINUTE)
  GROUP BY window_start, window_end, k HAVING window_end <= (SELECT max(ts) FROM src) - INTERVAL '10' SECOND ORDER BY 1, 2`
	shownWindows = `SELECT w, k, n, total FROM windows ORDER BY w, k`
)

func (s *scene) expand(text string) string { return strings.ReplaceAll(text, "$DIR", s.dir) }

// submit gives the pipeline to whichever driver takes it, by the program of a version.
func (s *scene) submit(bin string) {
	s.t.Helper()
	file := s.path("pipeline.sql")
	if err := os.WriteFile(file, []byte(s.expand(pipeline)), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.command(bin, "submit", "--server", s.addresses("HOST:800N"), file); err != nil {
		s.t.Fatal(err)
	}
}

// ofBatch finds the batch in the name of an output's file.
var ofBatch = regexp.MustCompile(`^[a-z]+-(\d+)-`)

// commits are the times at which batches of the copies were written, a moment before they
// were committed.
func (s *scene) commits() (at []time.Time, newest int) {
	s.t.Helper()
	files, err := filepath.Glob(s.path("out/copies/*.csv"))
	if err != nil {
		s.t.Fatal(err)
	}
	newest = -1
	for _, f := range files {
		m := ofBatch.FindStringSubmatch(filepath.Base(f))
		info, err := os.Stat(f)
		if m == nil || err != nil {
			s.t.Fatalf("the file %s: %v", f, err)
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			s.t.Fatal(err)
		}
		newest = max(newest, n)
		at = append(at, info.ModTime())
	}
	slices.SortFunc(at, time.Time.Compare)
	return at, newest
}

// goesOn waits until batches are shown that are newer than those of now.
func (s *scene) goesOn(when string) {
	s.t.Helper()
	const more = 5
	_, before := s.commits()
	s.until("batches are committed "+when, func() (bool, string) {
		s.alive(when)
		_, now := s.commits()
		return now >= before+more, fmt.Sprintf("batch %d, and it was %d; %s", now, before, s.states())
	})
}

// alive fails the test if a query has given up.
func (s *scene) alive(when string) {
	s.t.Helper()
	if said := s.states(); strings.Contains(said, "failed") {
		s.t.Fatalf("%s: %s", when, said)
	}
}

// states is what the leader says of its queries.
func (s *scene) states() string {
	for _, d := range driverIDs {
		var list []struct{ Name, Status, Error string }
		if s.ask(d, "/api/queries", &list) {
			return fmt.Sprint(d, " ", list)
		}
	}
	return "nobody leads"
}

// check ends the input, waits until all of it is in the output, and compares that with a
// batch run by the program of a version.
func (s *scene) check(bin string) {
	s.t.Helper()
	s.begin("the end")
	s.given.stop()
	if s.given.err == nil {
		s.given.err = s.give(s.given, 24*time.Hour) // which closes all windows before it
	}
	if s.given.err != nil {
		s.t.Fatal(s.given.err)
	}
	rows := s.given.files * rowsPerFile
	s.until("all rows are copied", func() (bool, string) {
		s.alive("at the end")
		got := s.copies(rows)
		return got == rows, fmt.Sprintf("%d of %d rows; %s", got, rows, s.states())
	})
	for _, o := range []struct{ name, want, got string }{{"counts", batchCounts, shownCounts}, {"windows", batchWindows, shownWindows}} {
		want, err := s.command(bin, "sql", "--format", "csv", "-c", s.expand(tables+o.want))
		if err != nil || strings.Count(want, "\n") < keys {
			s.t.Fatalf("the batch run over %s: %v\n%s", o.name, err, want)
		}
		s.until("the "+o.name+" are those of a batch run", func() (bool, string) {
			got, err := s.command(bin, "sql", "--format", "csv", "-c", s.expand(tables+o.got))
			return err == nil && got == want, fmt.Sprintf("%s %v\nwant %s\n%s", got, err, want, s.states())
		})
	}
}

// copies counts the rows that were copied: of those that were given, each once.
func (s *scene) copies(rows int) int {
	s.t.Helper()
	files, err := filepath.Glob(s.path("out/copies/*.csv"))
	if err != nil {
		s.t.Fatal(err)
	}
	seen := make([]bool, rows)
	got := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			s.t.Fatal(err)
		}
		list, err := csv.NewReader(strings.NewReader(string(b))).ReadAll()
		if err != nil {
			s.t.Fatalf("%s: %v", f, err)
		}
		for _, r := range list {
			var k, v int
			if n, err := fmt.Sscanf(strings.Join(r, " "), "%d %d", &k, &v); n != 2 || err != nil || v < 0 || v >= rows || v%keys != k {
				s.t.Fatalf("%s: row %q was never given", f, r)
			}
			if seen[v] {
				s.t.Fatalf("%s: row %q is there twice", f, r)
			}
			seen[v] = true
			got++
		}
	}
	return got
}

// events are lines of the drivers' logs that have a message.
func (s *scene) events(message string) (out []string) {
	s.t.Helper()
	for _, d := range driverIDs {
		for line := range strings.Lines(s.said(d)) {
			if strings.Contains(line, fmt.Sprintf("msg=%q", message)) {
				out = append(out, line)
			}
		}
	}
	return out
}

// lives are how often each query has begun to run on workers; of on, on these alone.
func (s *scene) lives(on string) map[string]int {
	out := map[string]int{}
	for _, e := range s.events("query runs on workers") {
		for _, q := range queries {
			if strings.Contains(e, "query="+q+" ") && strings.Contains(e, on) {
				out[q]++
			}
		}
	}
	return out
}

// runOn waits until all queries have begun another life, on workers.
func (s *scene) runOn(workers string, before map[string]int) {
	s.t.Helper()
	s.until("the queries run on "+workers, func() (bool, string) {
		now := s.lives(workers)
		for _, q := range queries {
			if now[q] <= before[q] {
				return false, fmt.Sprint(now, before)
			}
		}
		return true, ""
	})
}

// gaps tells the longest time between two commits in each step, and in all.
func (s *scene) gaps() {
	at, _ := s.commits()
	longest := map[string]time.Duration{}
	var all time.Duration
	for i := 1; i < len(at); i++ {
		d, in := at[i].Sub(at[i-1]), "before the upgrade"
		for _, st := range s.steps {
			if st.at.Before(at[i]) {
				in = st.what
			}
		}
		longest[in] = max(longest[in], d)
		if in != "the end" && in != "before the upgrade" {
			all = max(all, d)
		}
	}
	for _, st := range s.steps {
		s.t.Logf("%-28s longest time between two commits %4d ms", st.what, longest[st.what].Milliseconds())
	}
	s.t.Logf("%-28s longest time between two commits %4d ms, of %d batches", "the whole upgrade", all.Milliseconds(), len(at))
}

func TestRollingUpgrade(t *testing.T) {
	v1, v2 := build(t, "v1"), build(t, "v2")
	s := newScene(t)
	for _, d := range driverIDs {
		s.start(v1, d)
	}
	s.start(v1, "w1")
	s.start(v1, "w2")
	leader, term := s.leader()
	s.joined("w1", "w2")
	s.feed()
	s.submit(v1)
	s.goesOn("before the upgrade")

	for _, d := range driverIDs {
		if d != leader {
			s.replaceDriver(v2, d)
		}
	}
	s.replaceWorker(v2, "w1")
	s.begin("handover of %s", leader)
	before := s.lives(both)
	if out, err := s.command(v2, "drivers", "handover", "--server", s.addresses("HOST:800N")); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.runOn(both, before)
	s.goesOn("after the handover")
	s.replaceDriver(v2, leader)
	s.replaceWorker(v2, "w2")
	s.goesOn("after the upgrade")
	now, terms := s.leader()
	if now == leader {
		t.Errorf("%s leads before and after", now)
	}
	for _, m := range s.members() {
		if m.Version != "v2" {
			t.Errorf("worker %s says that its version is %q", m.ID, m.Version)
		}
	}
	s.check(v2)
	s.gaps()
	s.noMoreLives(terms - term)
}

// both are the workers as a driver's log has them.
const both = "[w1 w2]"

// replaceDriver ends a driver and starts it as another build: it follows again.
func (s *scene) replaceDriver(bin, id string) {
	s.t.Helper()
	s.begin("driver %s", id)
	s.stop(id)
	s.goesOn("without driver " + id)
	s.start(bin, id)
	s.until("driver "+id+" follows", func() (bool, string) { return s.ask(id, "/readyz", nil), s.said(id) })
	s.goesOn("with the new driver " + id)
}

// replaceWorker ends a worker and starts it as another build: it is given work again.
func (s *scene) replaceWorker(bin, id string) {
	s.t.Helper()
	s.begin("worker %s", id)
	s.stop(id)
	s.goesOn("without worker " + id)
	before := s.lives(both)
	s.start(bin, id)
	s.joined("w1", "w2")
	s.runOn(both, before)
	s.goesOn("with the new worker " + id)
}

// noMoreLives: each change costs every query one life. A machine that is so slow that
// drivers or workers lose sight of each other has other lives besides.
func (s *scene) noMoreLives(elections uint64) {
	s.t.Helper()
	const most = 1 /* at first */ + 4 /* two workers go and come */ + 1 /* the leader */
	lives, lost := s.lives(""), 0
	for _, e := range s.events("worker lost") {
		if !strings.Contains(e, "it has left") && !strings.Contains(e, "does not lead any more") {
			lost++
			s.t.Log(e)
		}
	}
	s.t.Logf("lives: %v; elections: %d, lost workers: %d", lives, elections, lost)
	for _, q := range queries {
		if n := lives[q]; n > most && elections <= 1 && lost == 0 {
			s.t.Errorf("query %s has begun %d lives, and %d are needed", q, n, most)
		}
	}
}
