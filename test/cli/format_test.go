package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

// values has a row of everything that is hard to print, and one of NULLs.
const values = `
SELECT * FROM (VALUES
  (1, 'plain', 1.5D, true, DATE '2024-02-29', TIMESTAMP_NTZ '2024-02-29 12:34:56.789', CAST(12.30 AS DECIMAL(5,2))),
  (2, 'a,"b"
c', -0.0D, false, DATE '1969-12-31', TIMESTAMP_NTZ '1969-12-31 23:59:59', CAST(-0.01 AS DECIMAL(5,2))),
  (3, '', 1e300D, NULL, NULL, NULL, NULL),
  (4, NULL, NULL, NULL, NULL, NULL, NULL)
) AS v(id, s, d, b, day, ts, m) ORDER BY id`

func TestFormatCSV(t *testing.T) {
	t.Parallel()
	out := ok(t, t.TempDir(), "sql", "--format", "csv", "-c", values)
	want := `id,s,d,b,day,ts,m
1,plain,1.5,true,2024-02-29,2024-02-29 12:34:56.789,12.30
2,"a,""b""
c",-0.0,false,1969-12-31,1969-12-31 23:59:59,-0.01
3,"",1.0E300,,,,
4,,,,,,
`
	if out != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

func TestFormatJSON(t *testing.T) {
	t.Parallel()
	out := ok(t, t.TempDir(), "sql", "--format", "json", "-c", values)
	var rows []map[string]any
	for line := range strings.Lines(out) {
		var row map[string]any
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		rows = append(rows, row)
	}
	if len(rows) != 4 {
		t.Fatalf("%d rows: %s", len(rows), out)
	}
	if got := rows[1]["s"]; got != "a,\"b\"\nc" {
		t.Errorf("text is %q", got)
	}
	if v, there := rows[3]["d"]; !there || v != nil {
		t.Errorf("NULL is %v, %v", v, there)
	}
	if rows[0]["d"] != 1.5 || rows[0]["b"] != true || rows[0]["id"] != 1.0 {
		t.Errorf("first row is %v", rows[0])
	}
}

func TestFormatArrow(t *testing.T) {
	t.Parallel()
	out := ok(t, t.TempDir(), "sql", "--format", "arrow", "-c", "CREATE VIEW v AS SELECT 1; "+values)
	r, err := ipc.NewReader(bytes.NewReader([]byte(out)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	names, rows, nulls := "", int64(0), 0
	for _, f := range r.Schema().Fields() {
		names += f.Name + " "
	}
	for r.Next() {
		rec := r.RecordBatch()
		rows += rec.NumRows()
		nulls += rec.Column(1).NullN()
		if ids, isInt := rec.Column(0).(*array.Int32); isInt && rec.NumRows() > 0 && ids.Value(0) != 1 && rows == rec.NumRows() {
			t.Errorf("first id is %d", ids.Value(0))
		}
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	if names != "id s d b day ts m " || rows != 4 || nulls != 1 {
		t.Errorf("columns %s, %d rows, %d NULLs", names, rows, nulls)
	}
}

func TestFormatTable(t *testing.T) {
	t.Parallel()
	out := ok(t, t.TempDir(), "sql", "-c", "SELECT 1 AS one, 'x' AS letter UNION ALL SELECT 22, NULL ORDER BY 1")
	want := `+-----+--------+
| one | letter |
+-----+--------+
|   1 | x      |
|  22 | NULL   |
+-----+--------+
2 rows
`
	if out != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

// TestOnlyRowsInFormatsOfPrograms keeps messages of statements out of what a
// program reads, and progress off everything that is no terminal.
func TestOnlyRowsInFormatsOfPrograms(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "p.sql", `
CREATE TABLE g (id BIGINT) WITH ('connector'='datagen','number-of-rows'='3','fields.id.kind'='sequence','fields.id.start'='1');
CREATE VIEW v AS SELECT id * 2 AS d FROM g;
SET 'parallelism' = '2';
SELECT d FROM v ORDER BY d;`)
	for format, want := range map[string]string{"csv": "d\n2\n4\n6\n", "json": "{\"d\":2}\n{\"d\":4}\n{\"d\":6}\n"} {
		for _, command := range [][]string{{"sql", "-f", "p.sql"}, {"run", "p.sql"}} {
			r := sluice(t, dir, append(command, "--format", format)...)
			r.check(t, done)
			if r.out != want || r.err != "" {
				t.Errorf("%s --format %s: output %q, errors %q", command[0], format, r.out, r.err)
			}
		}
	}
}

// TestConsoleOfAPipeline can be read by a program: messages go to standard error.
func TestConsoleOfAPipeline(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "p.sql", `
CREATE TABLE g (id BIGINT) WITH ('connector'='datagen','number-of-rows'='3','fields.id.kind'='sequence','fields.id.start'='1');
CREATE TABLE c (id BIGINT) WITH ('connector'='console','format'='json');
CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW AS INSERT INTO c SELECT id FROM g;`)
	r := sluice(t, dir, "run", "p.sql")
	r.check(t, done, "table g created", "streaming query q started", "q: 1 batches, 3 rows in, 3 rows out")
	want := `{"batch":0,"op":"+I","row":{"id":1}}` + "\n" + `{"batch":0,"op":"+I","row":{"id":2}}` + "\n" + `{"batch":0,"op":"+I","row":{"id":3}}` + "\n"
	if r.out != want {
		t.Errorf("output %q", r.out)
	}
	if strings.ContainsAny(r.err, "\r\x1b") {
		t.Errorf("progress on a pipe: %q", r.err)
	}
}

// TestStandardInput takes a script from a pipe, named and not.
func TestStandardInput(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"sql", "--format", "csv"}, {"sql", "--format", "csv", "-f", "-"}} {
		r := startCommand(t, t.TempDir(), "SELECT 1 AS a;\nSELECT 2 AS b", exec.Command(bin, args...)).wait()
		r.check(t, done)
		if r.out != "a\n1\nb\n2\n" {
			t.Errorf("%v: %q", args, r.out)
		}
	}
}

// TestClosedPipe is `| head -1`: it ends soon, says nothing, and is not taken for
// a wrong command line.
func TestClosedPipe(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"csv", "json", "arrow", "table"} {
		dir := t.TempDir()
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(bin, "sql", "--format", format, "--set", "spill.dir="+dir, "-c", `
			CREATE TABLE g (a BIGINT, b STRING) WITH ('connector'='datagen','number-of-rows'='300000'); SELECT * FROM g`)
		cmd.Stdout = write
		p := startCommand(t, dir, "", cmd)
		_ = write.Close() // the process has its own
		if _, err := io.ReadFull(read, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		_ = read.Close()
		r := p.wait()
		if r.code == usage || r.code == done && format != "table" || strings.Contains(r.err, "sluice:") {
			t.Errorf("--format %s: exit code %d, errors %s", format, r.code, r.err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "sluice-spill-*")); len(left) > 0 {
			t.Errorf("--format %s leaves %v", format, left)
		}
	}
}

// TestVersionAndDoctor run anywhere.
func TestVersionAndDoctor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if out := ok(t, dir, "version"); !strings.HasPrefix(out, "sluice ") || !strings.Contains(out, "go1.") {
		t.Errorf("version: %s", out)
	}
	if out := ok(t, dir, "doctor"); !strings.Contains(out, "durable write") || !strings.HasSuffix(out, "ok\n") {
		t.Errorf("doctor: %s", out)
	}
	if left := visible(t, dir); len(left) > 0 {
		t.Errorf("doctor leaves %v", left)
	}
	refuses(t, dir, failed, []string{"missing", "choose another --checkpoint-dir"}, "doctor", "--checkpoint-dir", "missing")
}

// TestExplain plans and runs nothing.
func TestExplain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "p.sql", windowed)
	out := ok(t, dir, "explain", "-f", "p.sql")
	for _, want := range []string{"Streaming query q, output mode append", "Stages", "watermark of events", "bounded by"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if got, _ := os.ReadDir(dir); len(got) != 1 {
		t.Errorf("explain made something: %v", got)
	}
	if out := ok(t, dir, "sql", "--format", "csv", "-c", "EXPLAIN SELECT 1 + 1 AS two"); !strings.HasPrefix(out, "plan\n") || !strings.Contains(out, "two") {
		t.Errorf("EXPLAIN: %s", out)
	}
}
