package damage

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	sluice "github.com/sluice-stream/sluice"
)

// pipeline is a query over files, in each of the forms that the tests run.
type pipeline struct {
	name   string
	format string // of the input
	sink   string // DDL of the output, PATH is its path
	mode   string
	sel    string // the SELECT of the stream
	closed string // a condition on the batch answer: what the watermark has closed
	static bool   // it reads DIR/dim.csv as a table
}

const (
	filesPerPhase = 3
	phases        = 3
	rowsPerFile   = 24
)

var pipelines = []pipeline{
	{
		name: "windows", format: "csv", mode: "append",
		sink:   "(start TIMESTAMP_NTZ, k STRING, n BIGINT, s BIGINT)",
		sel:    "SELECT window_start AS start, k, count(*) AS n, sum(v) AS s FROM TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' MINUTE) GROUP BY window_start, window_end, k",
		closed: " WHERE start < TIMESTAMP_NTZ'2024-01-02 00:00:00'",
	},
	{
		name: "totals", format: "parquet", mode: "complete",
		sink: "(id BIGINT, n BIGINT, s BIGINT, a DOUBLE)",
		sel:  "SELECT id % 150 AS id, count(*) AS n, sum(v) AS s, avg(v / 7.0) AS a FROM events GROUP BY id % 150",
	},
	{
		name: "joined", format: "json", mode: "append", static: true,
		sink:   "(start TIMESTAMP_NTZ, city STRING, n BIGINT, s BIGINT)",
		sel:    "SELECT window_start AS start, city, count(*) AS n, sum(v) AS s FROM HOP(TABLE events, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '2' MINUTE) JOIN dim ON k = dk GROUP BY window_start, window_end, city",
		closed: " WHERE start < TIMESTAMP_NTZ'2024-01-02 00:00:00'",
	},
}

func (p *pipeline) ext() string {
	return map[string]string{"csv": ".csv", "json": ".json", "parquet": ".parquet"}[p.format]
}

// world is a folder with a pipeline's input, output and checkpoint, and copies
// of it as it was earlier.
type world struct {
	t    *testing.T
	p    pipeline
	dir  string   // what the pipeline works on
	past []string // copies: after each phase
}

// emptyWorld has a table to join with and no input.
func emptyWorld(t *testing.T, p pipeline) *world {
	t.Helper()
	w := &world{t: t, p: p, dir: filepath.Join(t.TempDir(), "w")}
	w.check(os.MkdirAll(filepath.Join(w.dir, "in"), 0o755))
	w.check(os.MkdirAll(filepath.Join(w.dir, "out"), 0o755))
	if p.static {
		var b strings.Builder
		b.WriteString("dk,city\n")
		for i := range 6 { // k6 has none
			fmt.Fprintf(&b, "k%d,city %d\n", i, i%4)
		}
		w.write("dim.csv", b.String(), 0)
	}
	return w
}

// newWorld has run through all phases.
func newWorld(t *testing.T, p pipeline) *world {
	t.Helper()
	w := emptyWorld(t, p)
	for phase := range phases {
		for i := range filesPerPhase {
			w.feed(phase*filesPerPhase + i)
		}
		// The last phase ends as by a crash, long after its last checkpoint: the next
		// start loads that one and replays.
		last := phase == phases-1
		if err := w.run(last); err != nil {
			t.Fatalf("phase %d: %v", phase, err)
		}
		at := filepath.Join(filepath.Dir(w.dir), fmt.Sprintf("past-%d", phase))
		w.copyTree(w.dir, at)
		w.past = append(w.past, at)
	}
	return w
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// write writes a file with a time of change that is the same in every run.
func (w *world) write(name, text string, age int) {
	w.t.Helper()
	tmp := filepath.Join(w.dir, "_tmp") // whole and with its time before it is seen
	w.check(os.WriteFile(tmp, []byte(text), 0o644))
	w.touch(tmp, age)
	w.check(os.Rename(tmp, filepath.Join(w.dir, name)))
}

func (w *world) touch(path string, age int) {
	w.t.Helper()
	at := time.Unix(1_700_000_000+int64(age), 0)
	w.check(os.Chtimes(path, at, at))
}

func (w *world) input(i int) string {
	return filepath.Join("in", fmt.Sprintf("part-%03d%s", i, w.p.ext()))
}

// feed writes input file i; its rows are a minute later than those of the one before.
func (w *world) feed(i int) {
	w.t.Helper()
	start := time.Date(2024, 1, 1, 0, i, 0, 0, time.UTC)
	if i > phases*filesPerPhase { // the one that closes every window
		start = time.Date(2024, 1, 3, 0, 0, 0, 0, time.UTC)
	}
	w.feedAt(i, start)
}

func (w *world) feedAt(i int, start time.Time) {
	w.t.Helper()
	var text, values []string
	for r := range rowsPerFile {
		id := i*rowsPerFile + r
		ts := start.Add(time.Duration(id*7919%60) * time.Second).Format("2006-01-02 15:04:05")
		switch w.p.format {
		case "csv":
			text = append(text, fmt.Sprintf("%d,k%d,%d,%s\n", id, id%7, id%100, ts))
		case "json":
			text = append(text, fmt.Sprintf(`{"id":%d,"k":"k%d","v":%d,"ts":"%s"}`+"\n", id, id%7, id%100, ts))
		case "parquet":
			values = append(values, fmt.Sprintf("(%d, 'k%d', %d, TIMESTAMP_NTZ'%s')", id, id%7, id%100, ts))
		}
	}
	if w.p.format != "parquet" {
		w.write(w.input(i), strings.Join(text, ""), i)
		return
	}
	tmp := filepath.Join(w.dir, "tmp")
	s := w.session(nil)
	w.check(s.Exec(w.t.Context(), `CREATE TABLE tmp (id BIGINT, k STRING, v BIGINT, ts TIMESTAMP_NTZ) WITH ('connector'='filesystem', 'path'='`+tmp+`', 'format'='parquet');
		INSERT INTO tmp SELECT CAST(c1 AS BIGINT), c2, CAST(c3 AS BIGINT), c4 FROM (VALUES `+strings.Join(values, ", ")+`) AS v(c1, c2, c3, c4)`))
	w.check(s.Close())
	found, err := filepath.Glob(filepath.Join(tmp, "*.parquet"))
	if err != nil || len(found) != 1 {
		w.t.Fatalf("%d files were written, %v", len(found), err)
	}
	w.touch(found[0], i)
	w.check(os.Rename(found[0], filepath.Join(w.dir, w.input(i))))
	w.check(os.RemoveAll(tmp))
}

func (w *world) session(set map[string]string) *sluice.Session {
	w.t.Helper()
	s, err := sluice.NewSession(sluice.Options{
		Settings: set, CheckpointDir: filepath.Join(w.dir, "ck"), Logger: slog.New(slog.DiscardHandler), Stdout: io.Discard, Pipeline: true,
	})
	w.check(err)
	return s
}

func (w *world) ddl(bounded string) string {
	stream := "WATERMARK FOR ts AS ts - INTERVAL '10' SECOND"
	head := ""
	if w.p.format == "csv" {
		head = ", 'csv.header'='false'"
	}
	out := fmt.Sprintf("CREATE TABLE events (id BIGINT, k STRING, v BIGINT, ts TIMESTAMP_NTZ, %s) WITH ('connector'='filesystem', 'path'='%s', 'format'='%s', 'max-files-per-trigger'='1'%s);\n",
		stream, filepath.Join(w.dir, "in"), w.p.format, head)
	if w.p.static {
		out += fmt.Sprintf("CREATE TABLE dim (dk STRING, city STRING) WITH ('connector'='filesystem', 'path'='%s', 'format'='csv');\n", filepath.Join(w.dir, "dim.csv"))
	}
	return out + fmt.Sprintf("CREATE TABLE results %s WITH ('connector'='filesystem', 'path'='%s', 'format'='parquet');\n", w.p.sink, filepath.Join(w.dir, "out")+bounded)
}

// run runs the stream over what is there; crash ends it as by a crash and
// without a checkpoint.
func (w *world) run(crash bool) (err error) {
	w.t.Helper()
	set, trigger := map[string]string{"parallelism": "3", "checkpoint.interval": "1ms"}, "AVAILABLE NOW"
	if crash {
		set["checkpoint.interval"], trigger = "1h", "IMMEDIATE"
	}
	s := w.session(set)
	defer func() { w.check(s.Close()) }()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	script := w.ddl("") + "CREATE STREAMING QUERY q TRIGGER " + trigger + " OUTPUT MODE " + w.p.mode + " AS INSERT INTO results " + w.p.sel
	if err := s.Exec(ctx, script); err != nil {
		return err
	}
	q, _ := s.Query("q")
	if crash {
		if err := q.ProcessAllAvailable(ctx); err != nil {
			return err
		}
		q.Abandon()
	}
	return q.Await(ctx)
}

// rows returns the rows of a query as sorted lines.
func (w *world) rows(ddl, query string) ([]string, error) {
	w.t.Helper()
	s := w.session(nil)
	defer func() { w.check(s.Close()) }()
	if err := s.Exec(w.t.Context(), ddl); err != nil {
		return nil, err
	}
	df, err := s.SQL(w.t.Context(), query)
	if err != nil {
		return nil, err
	}
	found, err := df.Collect(w.t.Context())
	if err != nil {
		return nil, err
	}
	out := make([]string, len(found))
	for i, r := range found {
		out[i] = fmt.Sprint(r)
	}
	slices.Sort(out)
	return out, nil
}

// batch is the answer of the same query over the input as it lies there.
func (w *world) batch() ([]string, error) {
	w.t.Helper()
	return w.rows(w.ddl(""), "SELECT * FROM ("+w.p.sel+") AS b"+w.p.closed)
}

// output is what the directory shows: to a stranger who lists files, and to a
// reader of manifests.
func (w *world) output() (stranger, own []string, err error) {
	w.t.Helper()
	if stranger, err = w.rows(w.ddl("/*.parquet"), "SELECT * FROM results"); err != nil {
		return nil, nil, err
	}
	own, err = w.rows(w.ddl(""), "SELECT * FROM results")
	return stranger, own, err
}

// reset makes the world as it was after the last phase, with the rest of the input.
func (w *world) reset() {
	w.t.Helper()
	w.check(os.RemoveAll(w.dir))
	w.copyTree(w.past[phases-1], w.dir)
}

// copyTree copies files with their times.
func (w *world) copyTree(from, to string) {
	w.t.Helper()
	w.check(filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil || d.Name() == "BALLAST" {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		return copyFile(path, filepath.Join(to, rel))
	}))
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, b, 0o644); err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime())
}
