package crash

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/internal/proctest"
	"github.com/sluice-stream/sluice/internal/slt/duckdb"
)

// bin is the command.
var bin string

func TestMain(m *testing.M) {
	code, err := proctest.Main(m, &bin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if db, _ := duck(); db != nil {
		if err := db.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "close DuckDB:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// start starts a program in a folder.
func start(t *testing.T, dir, program string, args ...string) *proctest.Process {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	return proctest.Start(t, cmd)
}

const (
	files       = 240
	rowsPerFile = 50
)

// writeInput makes small CSV files of events whose time moves on by a minute a file.
func writeInput(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	start := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	for f := range files {
		var b strings.Builder
		b.WriteString("id,k,v,ts\n")
		for i := range rowsPerFile {
			id := f*rowsPerFile + i
			ts := start.Add(time.Duration(f)*time.Minute + time.Duration(id*7919%60)*time.Second)
			fmt.Fprintf(&b, "%d,k%d,%d,%s\n", id, id%7, id%100, ts.Format("2006-01-02 15:04:05"))
		}
		name := filepath.Join(dir, fmt.Sprintf("part-%04d.csv", f))
		if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

const tables = `
CREATE TABLE events (id BIGINT, k STRING, v BIGINT, ts TIMESTAMP_NTZ,
  WATERMARK FOR ts AS ts - INTERVAL '2' MINUTE)
WITH ('connector'='filesystem', 'path'='in', 'format'='csv', 'max-files-per-trigger'='2');
`

const pipeline = tables + `
CREATE TABLE copied (id BIGINT, k STRING, w BIGINT)
WITH ('connector'='filesystem', 'path'='out/copied', 'format'='parquet');
CREATE TABLE counted (window_start TIMESTAMP_NTZ, k STRING, n BIGINT, s BIGINT)
WITH ('connector'='filesystem', 'path'='out/counted', 'format'='parquet');
CREATE STREAMING QUERY copying TRIGGER AVAILABLE NOW CHECKPOINT 'ck/copying' AS
  INSERT INTO copied SELECT id, k, v * 2 FROM events;
CREATE STREAMING QUERY counting TRIGGER AVAILABLE NOW CHECKPOINT 'ck/counting' AS
  INSERT INTO counted SELECT window_start, k, count(*), sum(v)
  FROM TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '5' MINUTE) GROUP BY window_start, window_end, k;
`

const batchQuery = tables + `
SELECT window_start, k, count(*) AS n, sum(v) AS s
FROM TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '5' MINUTE)
GROUP BY window_start, window_end, k ORDER BY 1, 2;
`

// lastClosed is the end of the newest window that the watermark (highest event
// time less two minutes) closes.
func lastClosed() string {
	highest := time.Date(2024, 1, 1, 0, files-1, 59, 0, time.UTC)
	return highest.Add(-2 * time.Minute).Truncate(5 * time.Minute).Format("2006-01-02 15:04:05")
}

// TestKillAndRestart kills the run at random moments until it has ended by
// itself, then compares what a foreign reader finds with the batch answer.
func TestKillAndRestart(t *testing.T) {
	kills := 30
	if testing.Short() {
		kills = 4
	}
	dir := t.TempDir()
	writeInput(t, filepath.Join(dir, "in"))
	write(t, filepath.Join(dir, "p.sql"), pipeline)
	rng := rand.New(rand.NewPCG(1, uint64(kills)))
	killed := 0
	for killed < kills {
		p := start(t, dir, bin, "run", "p.sql")
		if p.KillAfter(time.Duration(20+rng.IntN(130)) * time.Millisecond) {
			killed++
		} else if p.State != nil {
			t.Fatalf("after %d kills: %v", killed, p.State)
		} else {
			killed = kills // everything is processed: nothing is left to interrupt
		}
		checkNoDuplicates(t, dir)
	}
	run(t, dir, bin, "run", "p.sql")
	check(t, dir)
}

// check compares the output with the input and with the batch query.
func check(t *testing.T, dir string) {
	t.Helper()
	rows := foreign(t, dir, "SELECT count(*), count(DISTINCT id), sum(id), sum(w) FROM TABLE_copied")
	var ids, ws int
	for id := range files * rowsPerFile {
		ids += id
		ws += 2 * (id % 100)
	}
	n := files * rowsPerFile
	if want := []string{fmt.Sprint(n), fmt.Sprint(n), fmt.Sprint(ids), fmt.Sprint(ws)}; !slices.Equal(rows[0], want) {
		t.Errorf("copied: got %v, want %v", rows[0], want)
	}
	got := foreign(t, dir, "SELECT window_start, k, n, s FROM TABLE_counted ORDER BY 1, 2")
	var want [][]string
	for _, r := range parse(t, run(t, dir, bin, "sql", "--format", "csv", "-c", batchQuery))[1:] {
		start, err := time.Parse("2006-01-02 15:04:05", r[0])
		if err != nil {
			t.Fatal(err)
		}
		if start.Add(5*time.Minute).Format("2006-01-02 15:04:05") <= lastClosed() {
			want = append(want, r)
		}
	}
	if len(want) == 0 {
		t.Fatal("the batch query found no closed window")
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("counted: got %d rows, want %d rows\n got %v\nwant %v", len(got), len(want), got, want)
	}
}

// checkNoDuplicates looks at the plain directory while nothing runs: whatever
// the crash left, no row may be there twice.
func checkNoDuplicates(t *testing.T, dir string) {
	t.Helper()
	if found, _ := filepath.Glob(filepath.Join(dir, "out/copied/*.parquet")); len(found) == 0 {
		return
	}
	rows := foreign(t, dir, "SELECT count(*) - count(DISTINCT id) FROM TABLE_copied")
	if rows[0][0] != "0" {
		t.Fatalf("%s rows are doubled", rows[0][0])
	}
}

// outputs are the directories that the pipelines write to, in out/.
var outputs = []string{"copied", "counted", "hops", "totals", "again", "raw"}

// duck is the DuckDB that reads the outputs of all tests, one after the other; nil
// where there is none.
var duck = sync.OnceValues(func() (*duckdb.Engine, error) {
	python := os.Getenv(duckdb.PythonVariable)
	if python == "" {
		return nil, nil
	}
	return duckdb.Open(python)
})

// foreign reads the output directories with DuckDB where `make test` has
// installed it, else with a fresh process of our own.
func foreign(t *testing.T, dir, query string) [][]string {
	t.Helper()
	db, err := duck()
	if err != nil {
		t.Fatal(err)
	}
	if db != nil {
		for _, name := range outputs {
			query = strings.ReplaceAll(query, "TABLE_"+name, "read_parquet('"+filepath.Join(dir, "out", name)+"/**/*.parquet')")
		}
		_, rows, err := db.Query(t.Context(), strings.ReplaceAll(query, "read_csv('", "read_csv('"+dir+"/"))
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		return rows
	}
	var ddl strings.Builder
	for _, name := range outputs {
		if strings.Contains(query, "TABLE_"+name) {
			path := "out/" + name + "/*.parquet"
			if name == "raw" { // in partitions
				path = "out/" + name + "/*/*.parquet"
			}
			fmt.Fprintf(&ddl, "CREATE TABLE %s WITH ('connector'='filesystem','path'='%s','format'='parquet');\n", name, path)
			query = strings.ReplaceAll(query, "TABLE_"+name, name)
		}
	}
	return parse(t, run(t, dir, bin, "sql", "--format", "csv", "-c", ddl.String()+query))[1:]
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, errOut.String())
	}
	return out.String()
}

func parse(t *testing.T, text string) [][]string {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
