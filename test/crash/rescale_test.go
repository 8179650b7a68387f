package crash

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/internal/proctest"
)

// rescaled runs all kinds of output at once: windows that slide, joined with a
// table, in append mode, and the joined rows in partitions, by one query with
// three sinks; totals in complete mode; totals as updates on the
// console; rows that are only copied, with their small files merged; and a query
// that reads what the first one writes. Every batch has one file, and checkpoints are so frequent that they, their replays and
// the log's truncation happen between kills.
const (
	rescaleTables = `
CREATE TABLE events (id BIGINT, k STRING, v BIGINT, ts TIMESTAMP_NTZ,
  WATERMARK FOR ts AS ts - INTERVAL '2' MINUTE)
WITH ('connector'='filesystem', 'path'='in', 'format'='csv', 'max-files-per-trigger'='1');
CREATE TABLE dim (dk STRING, city STRING) WITH ('connector'='filesystem', 'path'='dim.csv', 'format'='csv');
`
	hopSelect = `SELECT window_start AS start, city, count(*) AS n, sum(v) AS s, avg(v / 7.0D) AS a
  FROM HOP(TABLE events, DESCRIPTOR(ts), INTERVAL '2' MINUTE, INTERVAL '6' MINUTE) JOIN dim ON k = dk
  GROUP BY window_start, window_end, city`
	totalSelect  = `SELECT id % 500 AS g, count(*) AS n, sum(v) AS s, max(id) AS m FROM events GROUP BY id % 500`
	updateSelect = `SELECT k, count(*) AS n, sum(v) AS s, avg(v / 3.0D) AS a FROM events GROUP BY k`
	rescaled     = rescaleTables + `
CREATE TABLE hops (start TIMESTAMP_NTZ, city STRING, n BIGINT, s BIGINT, a DOUBLE)
WITH ('connector'='filesystem', 'path'='out/hops', 'format'='parquet');
CREATE TABLE totals (g BIGINT, n BIGINT, s BIGINT, m BIGINT)
WITH ('connector'='filesystem', 'path'='out/totals', 'format'='parquet');
CREATE TABLE updates (k STRING, n BIGINT, s BIGINT, a DOUBLE) WITH ('connector'='console', 'format'='json');
CREATE TABLE copied (id BIGINT, k STRING, w BIGINT)
WITH ('connector'='filesystem', 'path'='out/copied', 'format'='parquet', 'compaction'='true', 'compaction.min-files'='5');
CREATE TABLE hops2 (start TIMESTAMP_NTZ, city STRING, n BIGINT, s BIGINT, a DOUBLE)
WITH ('connector'='filesystem', 'path'='out/hops2', 'format'='csv');
CREATE TABLE raw (city STRING, id BIGINT) PARTITIONED BY (city)
WITH ('connector'='filesystem', 'path'='out/raw', 'format'='parquet');
CREATE STREAMING QUERY hopping TRIGGER AVAILABLE NOW CHECKPOINT 'ck/hopping' AS BEGIN
  INSERT INTO hops ` + hopSelect + `;
  INSERT INTO hops2 ` + hopSelect + `;
  INSERT INTO raw SELECT city, id FROM events JOIN dim ON k = dk;
END;
CREATE STREAMING QUERY totalling TRIGGER AVAILABLE NOW OUTPUT MODE complete CHECKPOINT 'ck/totalling' AS INSERT INTO totals ` + totalSelect + `;
CREATE STREAMING QUERY updating TRIGGER AVAILABLE NOW OUTPUT MODE update CHECKPOINT 'ck/updating' AS INSERT INTO updates ` + updateSelect + `;
CREATE STREAMING QUERY copying TRIGGER AVAILABLE NOW CHECKPOINT 'ck/copying' AS INSERT INTO copied SELECT id, k, v * 2 FROM events;
CREATE TABLE hops_in (start TIMESTAMP_NTZ, city STRING, n BIGINT, s BIGINT, a DOUBLE)
WITH ('connector'='filesystem', 'path'='out/hops', 'format'='parquet');
CREATE TABLE again (start TIMESTAMP_NTZ, city STRING, n BIGINT, s BIGINT, a DOUBLE)
WITH ('connector'='filesystem', 'path'='out/again', 'format'='parquet');
CREATE STREAMING QUERY chaining TRIGGER AVAILABLE NOW CHECKPOINT 'ck/chaining' AS INSERT INTO again SELECT * FROM hops_in;
`
)

// TestKillAndRescale kills the run and starts it again with another number of
// partitions, until it ends by itself.
func TestKillAndRescale(t *testing.T) {
	kills, inputs := 25, files
	if testing.Short() {
		kills, inputs = 3, 40
	}
	dir := t.TempDir()
	writeInput(t, filepath.Join(dir, "in"))
	for f := inputs; f < files; f++ {
		if err := os.Remove(filepath.Join(dir, "in", fmt.Sprintf("part-%04d.csv", f))); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "p.sql"), rescaled)
	dim := "dk,city\n"
	for i := range 6 { // k6 has none
		dim += fmt.Sprintf("k%d,city %d\n", i, i%4)
	}
	write(t, filepath.Join(dir, "dim.csv"), dim)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	if err := os.MkdirAll(filepath.Join(dir, "out", "hops"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := &rescaler{t: t, dir: dir, rng: rand.New(rand.NewPCG(seed, 1))}
	for range kills {
		// The kills share the batches of the input, on a slow machine as on a fast one.
		if r.run(r.rng.IntN(2 * 4 * inputs * 2 / 3 / kills)) {
			break
		}
		r.between()
	}
	for range 2 { // a second time for the query that reads what another writes
		if !r.run(toTheEnd) {
			t.Fatal("the last run did not end")
		}
	}
	t.Logf("%d kills, %d states restored, %d batches replayed, %d of them with another parallelism; first segments %v", r.killed, r.restored, r.replayed, r.recut, r.firstSegments())
	if !testing.Short() && (r.killed < kills/2 || r.restored < r.killed/2 || r.replayed < 5) {
		t.Errorf("the test has not tested enough: %d kills, %d states restored, %d batches replayed", r.killed, r.restored, r.replayed)
	}
	if !testing.Short() && slices.Max(r.firstSegments()) < 2 {
		t.Error("no batch log was ever truncated")
	}
	r.compare(inputs)
}

// rescaler is the life of a pipeline over many processes.
type rescaler struct {
	t    *testing.T
	dir  string
	rng  *rand.Rand
	last int // partitions of the run before

	killed, restored, replayed, recut int
	console                           []byte // of all runs, one after the other
}

var (
	restoredLine = regexp.MustCompile(`msg="state restored"`)
	replayedLine = regexp.MustCompile(`msg="batch started".* mode=(replay|reprepare)`)
)

// toTheEnd is more batches than there are.
const toTheEnd = 1 << 30

// run runs the pipeline until so many batches are done, and some milliseconds more, and
// reports whether it has ended by itself.
func (r *rescaler) run(batches int) bool {
	r.t.Helper()
	parts := 1 + r.rng.IntN(7)
	cmd := exec.Command(bin, "run", "--log", "debug", "--set", "parallelism="+strconv.Itoa(parts), "--set", "checkpoint.interval=50ms", "p.sql")
	cmd.Dir = r.dir
	errOut := &counting{word: []byte(`msg="batch done"`), after: batches, reached: make(chan struct{})}
	cmd.Stderr = errOut
	p := proctest.Start(r.t, cmd)
	select {
	case <-p.Ended:
	case <-errOut.reached:
		p.KillAfter(time.Duration(r.rng.IntN(40)) * time.Millisecond)
	}
	ended := p.State == nil
	if !ended && !p.Killed() {
		r.t.Fatalf("after %d kills: %v\n%s", r.killed, p.State, tail(errOut.text.String()))
	}
	if !ended {
		r.killed++
	}
	r.console = append(r.console, p.Out.String()...)
	if n := len(r.console); n > 0 && r.console[n-1] != '\n' {
		r.console = append(r.console, '\n') // the kill has torn a line
	}
	r.restored += len(restoredLine.FindAllString(errOut.text.String(), -1))
	n := len(replayedLine.FindAllString(errOut.text.String(), -1))
	r.replayed += n
	if r.last != 0 && r.last != parts {
		r.recut += n
	}
	r.last = parts
	return ended
}

// counting is the output of a process, which tells when it has said a word so often.
type counting struct {
	text    bytes.Buffer // no part of it, or its ReadFrom would be called
	word    []byte
	after   int
	reached chan struct{} // closed then

	seen, from int // words, in the bytes below from
	told       bool
}

func (c *counting) Write(b []byte) (int, error) {
	n, err := c.text.Write(b)
	for !c.told && c.seen < c.after {
		at := bytes.Index(c.text.Bytes()[c.from:], c.word)
		if at < 0 {
			c.from = max(c.from, c.text.Len()-len(c.word)+1)
			return n, err
		}
		c.from += at + len(c.word)
		c.seen++
	}
	if !c.told {
		c.told = true
		close(c.reached)
	}
	return n, err
}

func tail(s string) string {
	lines := strings.Split(s, "\n")
	var out []string
	for _, l := range lines[max(0, len(lines)-200):] {
		if !strings.Contains(l, "level=DEBUG") {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}

// between looks at the plain directories while nothing runs: no row may be there twice.
func (r *rescaler) between() {
	r.t.Helper()
	var queries []string
	for _, q := range []struct{ name, dups string }{
		{"copied", "count(*) - count(DISTINCT id) FROM TABLE_copied"},
		{"raw", "count(*) - count(DISTINCT id) FROM TABLE_raw"},
		{"hops", "count(*) FROM (SELECT start, city FROM TABLE_hops GROUP BY start, city HAVING count(*) > 1) AS d"},
		{"totals", "count(*) - count(DISTINCT g) FROM TABLE_totals"},
	} {
		files, _ := filepath.Glob(filepath.Join(r.dir, "out", q.name, "*.parquet"))
		parts, _ := filepath.Glob(filepath.Join(r.dir, "out", q.name, "*", "*.parquet"))
		if len(files)+len(parts) > 0 { // else nothing is shown yet, or the kill came while a result was replaced
			queries = append(queries, "SELECT '"+q.name+"', "+q.dups)
		}
	}
	if len(queries) == 0 {
		return
	}
	for _, row := range foreign(r.t, r.dir, strings.Join(queries, " UNION ALL ")) {
		if row[1] != "0" {
			r.t.Fatalf("after kill %d: %s rows of %s are doubled", r.killed, row[1], row[0])
		}
	}
}

// firstSegments are the numbers of the oldest segments of the batch logs: more
// than 1 where a log was truncated.
func (r *rescaler) firstSegments() []int {
	r.t.Helper()
	var out []int
	for _, q := range []string{"hopping", "totalling", "updating", "copying"} {
		found, err := filepath.Glob(filepath.Join(r.dir, "ck", q, "log", "*.log"))
		if err != nil || len(found) == 0 {
			r.t.Fatalf("query %s has no batch log: %v", q, err)
		}
		n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(slices.Min(found)), ".log"))
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, n)
	}
	return out
}

// compare holds all outputs against the batch answers.
func (r *rescaler) compare(inputs int) {
	t := r.t
	t.Helper()
	highest := time.Date(2024, 1, 1, 0, inputs-1, 59, 0, time.UTC)
	// A window of six minutes is closed when its start is at least eight before the highest time.
	closed := highest.Add(-8 * time.Minute).Format("2006-01-02 15:04:05")
	sql := func(query string) [][]string {
		return parse(t, run(t, r.dir, bin, "sql", "--format", "csv", "-c", rescaleTables+query))[1:]
	}
	for _, c := range []struct{ name, want, got string }{
		{"raw", "SELECT id, city FROM events JOIN dim ON k = dk ORDER BY 1", "SELECT id, city FROM TABLE_raw ORDER BY 1"},
		{"hops", "SELECT start, city, n, s, round(a, 9) FROM (" + hopSelect + ") AS b WHERE start <= TIMESTAMP_NTZ'" + closed + "' ORDER BY 1, 2",
			"SELECT start, city, n, s, round(a, 9) FROM TABLE_hops ORDER BY 1, 2"},
		{"again", "SELECT start, city, n, s, round(a, 9) FROM (" + hopSelect + ") AS b WHERE start <= TIMESTAMP_NTZ'" + closed + "' ORDER BY 1, 2",
			"SELECT start, city, n, s, round(a, 9) FROM TABLE_again ORDER BY 1, 2"},
		{"totals", "SELECT g, n, s, m FROM (" + totalSelect + ") AS b ORDER BY 1", "SELECT g, n, s, m FROM TABLE_totals ORDER BY 1"},
		{"copied", "SELECT id, k, v * 2 AS w FROM events ORDER BY 1", "SELECT id, k, w FROM TABLE_copied ORDER BY 1"},
	} {
		got, want := foreign(t, r.dir, c.got), sql(c.want)
		if len(want) == 0 || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %d rows, want %d\n got %v\nwant %v", c.name, len(got), len(want), got, want)
		}
	}
	second, err := filepath.Glob(filepath.Join(r.dir, "out", "hops2", "*.csv"))
	if err != nil {
		t.Fatal(err)
	}
	var lines int
	for _, name := range second {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines += bytes.Count(b, []byte("\n")) - 1
	}
	if want := foreign(t, r.dir, "SELECT count(*) FROM TABLE_hops")[0][0]; strconv.Itoa(lines) != want {
		t.Errorf("the second sink of the query has %d rows, the first %s", lines, want)
	}
	r.compareForeign(closed)
	got := r.upserted()
	for _, row := range sql("SELECT k, n, s, a FROM (" + updateSelect + ") AS b") {
		a, err := strconv.ParseFloat(row[3], 64)
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("%s %s %.9f", row[1], row[2], a)
		if got[row[0]] != want {
			t.Errorf("updates of %s: got %q, want %q", row[0], got[row[0]], want)
		}
		delete(got, row[0])
	}
	if len(got) > 0 {
		t.Errorf("updates of keys that there are not: %v", got)
	}
}

// compareForeign lets DuckDB compute the answers from the input, where it is installed.
func (r *rescaler) compareForeign(closed string) {
	r.t.Helper()
	if os.Getenv("SLUICE_DUCKDB_PYTHON") == "" {
		return
	}
	for _, c := range []struct{ name, want, got string }{
		{"hops", `SELECT w AS start, city, count(*), sum(v)::BIGINT, round(avg(v / 7.0::DOUBLE), 6) FROM
  (SELECT *, unnest([time_bucket(INTERVAL 2 MINUTE, ts) - INTERVAL 4 MINUTE, time_bucket(INTERVAL 2 MINUTE, ts) - INTERVAL 2 MINUTE, time_bucket(INTERVAL 2 MINUTE, ts)]) AS w
   FROM read_csv('in/*.csv') JOIN read_csv('dim.csv') ON k = dk) WHERE w <= TIMESTAMP '` + closed + `' GROUP BY w, city ORDER BY 1, 2`,
			"SELECT start, city, n, s, round(a, 6) FROM TABLE_hops ORDER BY 1, 2"},
		{"totals", "SELECT id % 500, count(*), sum(v)::BIGINT, max(id) FROM read_csv('in/*.csv') GROUP BY 1 ORDER BY 1", "SELECT g, n, s, m FROM TABLE_totals ORDER BY 1"},
	} {
		got, want := foreign(r.t, r.dir, c.got), foreign(r.t, r.dir, c.want)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			r.t.Errorf("%s: %d rows, DuckDB finds %d\n got %v\nwant %v", c.name, len(got), len(want), got, want)
		}
	}
}

// upserted applies what the console has shown. A batch may be shown twice after
// a crash, then with the same rows, and batches come in order.
func (r *rescaler) upserted() map[string]string {
	t := r.t
	t.Helper()
	type line struct {
		Batch int
		Op    string
		Row   struct {
			K    string
			N, S int64
			A    float64
		}
	}
	rows, seen, newest := map[string]string{}, map[string]string{}, -1
	for text := range strings.Lines(string(r.console)) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			continue // torn by a kill: it is shown again, or the comparison fails
		}
		if l.Batch < newest {
			t.Fatalf("batch %d is shown after batch %d", l.Batch, newest)
		}
		newest = l.Batch
		row := fmt.Sprintf("%d %d %.9f", l.Row.N, l.Row.S, l.Row.A)
		at := fmt.Sprintf("%d %s", l.Batch, l.Row.K)
		if before, ok := seen[at]; ok && before != row {
			t.Fatalf("batch %d shows %s first as %s and then as %s", l.Batch, l.Row.K, before, row)
		}
		seen[at], rows[l.Row.K] = row, row
	}
	return rows
}
