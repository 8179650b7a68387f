package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// badInput is a file that cannot be read as its table says.
type badInput struct {
	name, format, file string
	make               func(t *testing.T, path string)
	errors             []string
}

func text(s string) func(*testing.T, string) {
	return func(t *testing.T, path string) { write(t, path, s) }
}

// goodParquet makes a Parquet file of enough rows to have something to damage.
func goodParquet(t *testing.T, path string) {
	t.Helper()
	dir := t.TempDir()
	ok(t, dir, "sql", "-c", `
		CREATE TABLE g (id BIGINT, k STRING) WITH ('connector'='datagen','number-of-rows'='5000');
		CREATE TABLE p (id BIGINT, k STRING) WITH ('connector'='filesystem','path'='p','format'='parquet');
		INSERT INTO p SELECT * FROM g`)
	b, err := os.ReadFile(visible(t, filepath.Join(dir, "p"))[0])
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(b))
}

var badInputs = []badInput{
	{"truncated parquet", "parquet", "bad.parquet", func(t *testing.T, path string) {
		goodParquet(t, path)
		if err := os.Truncate(path, 3000); err != nil {
			t.Fatal(err)
		}
	}, []string{`bad\.parquet`, `cut off`}},
	{"empty parquet", "parquet", "bad.parquet", text(""), []string{`bad\.parquet`}},
	{"flipped data of parquet", "parquet", "bad.parquet", func(t *testing.T, path string) {
		goodParquet(t, path)
		flip(t, path, func(n int) int { return n / 2 })
	}, []string{`bad\.parquet`}},
	{"flipped footer of parquet", "parquet", "bad.parquet", func(t *testing.T, path string) {
		goodParquet(t, path)
		flip(t, path, func(n int) int { return n - 6 })
	}, []string{`bad\.parquet`}},
	{"csv with too many fields", "csv", "bad.csv", text("id,k\n1,a\n2,b,c\n"), []string{`bad\.csv", line 3`, `too many fields: 3 .* 2`, `2,b,c`}},
	{"csv with too few fields", "csv", "bad.csv", text("id,k\n1,a\n2\n"), []string{`bad\.csv", line 3`, `too few fields: 1 .* 2`}},
	{"csv with text for a number", "csv", "bad.csv", text("id,k\n1,a\nsix,b\n"), []string{`bad\.csv", line 3, column "id"`, `"six"`}},
	{"csv with an open quote", "csv", "bad.csv", text("id,k\n1,\"a\n2,b\n"), []string{`bad\.csv", line 2`}},
	{"invalid json", "json", "bad.json", text("{\"id\":1,\"k\":\"a\"}\n{\"id\":2,\"k\":oops}\n"), []string{`bad\.json", line 2, column \d+`, `oops`}},
	{"cut json", "json", "bad.json", text("{\"id\":1,\"k\":\"a\"}\n{\"id\":2,\"k\""), []string{`bad\.json", line 2, column \d+`}},
	{"json with text for a number", "json", "bad.json", text("{\"id\":\"six\",\"k\":\"a\"}\n"), []string{`bad\.json", line 1, column \d+, field "id"`, `six`}},
	{"a directory in the place of a file", "csv", "bad.csv/", func(t *testing.T, path string) {
		if err := os.MkdirAll(filepath.Join(path, "x.csv"), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, path, "x.csv", "deep.csv", "a,b,c,d\n1,2,3,4\n")
	}, []string{`deep\.csv`}},
}

func tablesOf(format string) string {
	return fmt.Sprintf(`
CREATE TABLE src (id BIGINT, k STRING) WITH ('connector'='filesystem', 'path'='in', 'format'='%s');
CREATE TABLE dst (id BIGINT, k STRING) WITH ('connector'='filesystem', 'path'='out', 'format'='csv');
`, format)
}

// TestBadInput reads each bad file as a batch, into a table, and as a stream:
// the error says where, and nothing of it can be seen.
func TestBadInput(t *testing.T) {
	t.Parallel()
	for _, in := range badInputs {
		t.Run(strings.ReplaceAll(in.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			in.make(t, filepath.Join(dir, "in", in.file))
			ddl := tablesOf(in.format)
			refuses(t, dir, failed, in.errors, "sql", "--format", "csv", "-c", ddl+"SELECT * FROM src")
			refuses(t, dir, failed, in.errors, "sql", "-c", ddl+"INSERT INTO dst SELECT * FROM src")
			write(t, dir, "p.sql", ddl+"CREATE STREAMING QUERY q AS INSERT INTO dst SELECT * FROM src;")
			refuses(t, dir, failed, in.errors, "run", "p.sql")
			refuses(t, dir, failed, in.errors, "run", "--once", "p.sql") // and once more
			if got := visible(t, filepath.Join(dir, "out")); len(got) > 0 {
				t.Errorf("half-written output: %v", got)
			}
		})
	}
}

// TestBadInputAfterGood lets a bad file come after good ones: what was there
// stays, and the query goes on where it was when bad rows are let through.
func TestBadInputAfterGood(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "in", "a.csv", "id,k\n1,a\n2,b\n")
	ddl := tablesOf("csv") + "CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW AS INSERT INTO dst SELECT * FROM src;"
	write(t, dir, "p.sql", ddl)
	ok(t, dir, "run", "p.sql")
	write(t, dir, "in", "b.csv", "id,k\n3,c\nx,d\n")
	refuses(t, dir, failed, []string{`b\.csv", line 3, column "id"`, `"x"`}, "run", "p.sql")
	if got := csvRows(t, filepath.Join(dir, "out")); fmt.Sprint(got) != "[[1 a] [2 b]]" {
		t.Errorf("rows after the failure: %v", got)
	}
	write(t, dir, "p.sql", strings.Replace(ddl, "'path'='in',", "'path'='in', 'bad-rows'='null',", 1))
	ok(t, dir, "run", "p.sql")
	if got := csvRows(t, filepath.Join(dir, "out")); fmt.Sprint(got) != "[[1 a] [2 b] [3 c] [ d]]" && fmt.Sprint(got) != "[[1 a] [2 b] [3 c] [ ]]" {
		t.Errorf("rows after the repair: %v", got)
	}
}

// TestMissingPath is refused at once, by a batch and by a stream.
func TestMissingPath(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := []string{`path "in" does not exist`}
	refuses(t, dir, failed, want, "sql", "-c", tablesOf("csv")+"SELECT * FROM src")
	write(t, dir, "p.sql", tablesOf("csv")+"INSERT INTO dst SELECT * FROM src;")
	refuses(t, dir, failed, want, "run", "p.sql")
	refuses(t, dir, failed, want, "sql", "-c", "CREATE TABLE src WITH ('connector'='filesystem','path'='in','format'='csv'); SELECT * FROM src")
	pattern := strings.Replace(tablesOf("csv"), "'path'='in'", "'path'='in/*/x*.csv'", 1)
	refuses(t, dir, failed, want, "sql", "-c", pattern+"SELECT * FROM src")
	if got := visible(t, filepath.Join(dir, "out")); len(got) > 0 {
		t.Errorf("output: %v", got)
	}
	if err := os.Mkdir(filepath.Join(dir, "in"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out := ok(t, dir, "sql", "--format", "csv", "-c", pattern+"SELECT * FROM src"); out != "id,k\n" {
		t.Errorf("a pattern without files gives %q", out)
	}
}

// TestUnreadableFile needs a user whom permissions bind.
func TestUnreadableFile(t *testing.T) {
	t.Parallel()
	if os.Getuid() == 0 {
		t.Skip("root may read everything")
	}
	dir := t.TempDir()
	write(t, dir, "in", "a.csv", "id,k\n1,a\n")
	if err := os.Chmod(filepath.Join(dir, "in", "a.csv"), 0); err != nil {
		t.Fatal(err)
	}
	refuses(t, dir, failed, []string{`a\.csv`, "permission denied"}, "sql", "-c", tablesOf("csv")+"SELECT * FROM src")
}
