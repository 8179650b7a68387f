package sluice

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// filesIn puts files into a new folder, with times of change in their order.
func filesIn(t *testing.T, files ...[2]string) string {
	t.Helper()
	dir := t.TempDir()
	for i, f := range files {
		path := filepath.Join(dir, f[0])
		if err := os.WriteFile(path, []byte(f[1]), 0o666); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(1_700_000_000+int64(i), 0)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func sessionFor(t *testing.T) *Session {
	t.Helper()
	s, err := NewSession(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// unionFiles are written by pyarrow (a, b, d) and DuckDB (c). DuckDB's own
// read_parquet(.., union_by_name = true) of the first three gave the rows below.
func unionFiles(t *testing.T, names ...string) string {
	t.Helper()
	var files [][2]string
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join("testdata", "union", n))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, [2]string{n, string(b)})
	}
	return filesIn(t, files...)
}

func TestColumnsOfAllFiles(t *testing.T) {
	dir, s := unionFiles(t, "a.parquet", "b.parquet", "c.parquet", "d.arrow"), sessionFor(t)
	types := firstColumn(t, s, fmt.Sprintf("SELECT concat_ws(' ', typeof(id), typeof(x), typeof(amount), typeof(`at`), typeof(s), typeof(l), typeof(extra)) FROM '%s' LIMIT 1", dir))
	if got, want := types[0], "bigint double decimal(18,4) timestamp_ntz struct<a:bigint,b:string> array<bigint> string"; got != want {
		t.Errorf("types %s, want %s", got, want)
	}
	rows := firstColumn(t, s, fmt.Sprintf("SELECT concat_ws('|', id, coalesce(x, -1), coalesce(amount, -1), coalesce(CAST(`at` AS STRING), '-'), coalesce(to_json(s), '-'), coalesce(to_json(l), '-'), coalesce(extra, '-')) FROM '%s' ORDER BY id", dir))
	want := []string{
		`1|1.0|1.5000|2024-01-02 00:00:00|{"a":1}|[1]|-`, `2|-1.0|2.2500|-|{"a":2}|[2,3]|-`, `3|0.5|123456789.1234|2024-05-06 07:08:09|-|[4]|e`,
		`4|3.0|-1.0000|-|-|-|f`, `5|9.007199254740992E15|7.0000|2024-12-31 00:00:00|{"a":5,"b":"bb"}|-|-`, `6|-1.0|8.0000|2025-01-01 00:00:00|{"b":"only"}|-|g`,
	}
	if got := strings.Join(rows, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	// Conditions prune by the bounds of each file's own type.
	for where, n := range map[string]string{
		"`at` >= TIMESTAMP_NTZ '2024-12-31 00:00:00'": "2", "`at` = TIMESTAMP_NTZ '2024-01-02 00:00:00'": "1", "x > 0.75": "3", "x = 9007199254740992": "1",
		"amount = 7": "1", "amount < 2.0": "1", "extra IS NULL": "3", "id = 5": "1", "extra = 'g'": "1", "`at` < TIMESTAMP_NTZ '2024-01-03 00:00:00'": "1",
	} {
		if got := firstColumn(t, s, fmt.Sprintf("SELECT count(*) FROM '%s' WHERE %s", dir, where))[0]; got != n {
			t.Errorf("%s: %s rows, want %s", where, got, n)
		}
	}
}

// TestDatesBeginInTheSessionsZone: a date of one file that is an instant in another.
func TestDatesBeginInTheSessionsZone(t *testing.T) {
	s := sessionFor(t)
	dir := filesIn(t, [2]string{"a.csv", "d\n2024-03-31\n"}, [2]string{"b.csv", "d\n2024-03-31 12:00:00\n"})
	if err := s.Exec(t.Context(), "SET session.time-zone = 'Europe/Berlin'"); err != nil {
		t.Fatal(err)
	}
	pq := t.TempDir()
	for i, q := range []string{"SELECT DATE '2024-03-31' AS d", "SELECT TIMESTAMP '2024-03-31 12:00:00' AS d"} {
		if err := s.Exec(t.Context(), fmt.Sprintf("CREATE TABLE f%d WITH ('connector'='filesystem', 'format'='parquet', 'path'='%s/%d') AS %s", i, pq, i, q)); err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range []string{"'" + dir + "'", "parquet.`" + pq + "/*`"} {
		if got := strings.Join(firstColumn(t, s, "SELECT CAST(d AS STRING) FROM "+from+" ORDER BY d"), " "); got != "2024-03-31 00:00:00 2024-03-31 12:00:00" {
			t.Errorf("%s: %s", from, got)
		}
	}
}

func TestColumnsOfTextFiles(t *testing.T) {
	s := sessionFor(t)
	for _, c := range []struct {
		name, with, query, want string
		files                   [][2]string
	}{
		{"csv", "", "SELECT concat_ws('|', a, coalesce(b, '-'), coalesce(c, -1)) FROM t ORDER BY a", "1.0|-|-1 2.5|y|7 3.0|-|8",
			[][2]string{{"1.csv", "a,b\n1,\n"}, {"2.csv", "b,A,c\ny,2.5,7\n"}, {"3.csv", "c,a\n8,3\n"}}},
		{"csv without a header", ", 'csv.header'='false'", "SELECT concat_ws('|', _c0, coalesce(_c1, '-')) FROM t ORDER BY _c0", "1|- 2|x",
			[][2]string{{"1.csv", "1\n"}, {"2.csv", "2,x\n"}}},
		{"json", "", "SELECT concat_ws('|', a, coalesce(to_json(s), '-'), coalesce(z, '-')) FROM t ORDER BY a", `1.0|{"x":1}|- 2.5|{"y":"q"}|- 3.0|-|z`,
			[][2]string{{"1.json", `{"a":1,"s":{"x":1}}`}, {"2.json", `{"a":2.5,"s":{"y":"q"},"z":null}`}, {"3.json", `{"a":3,"z":"z"}`}}},
	} {
		dir := filesIn(t, c.files...)
		if err := s.Exec(t.Context(), "CREATE OR REPLACE TABLE t WITH ('connector'='filesystem', 'path'='"+dir+"'"+c.with+")"); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := strings.Join(firstColumn(t, s, c.query), " "); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestFilesThatDoNotFit(t *testing.T) {
	s := sessionFor(t)
	dir := t.TempDir()
	for i, q := range []string{"SELECT 1 AS a, named_struct('n', 1) AS s", "SELECT 'x' AS a, named_struct('n', 1) AS s", "SELECT 1 AS a, named_struct('n', true) AS s", "SELECT 1 AS b"} {
		if err := s.Exec(t.Context(), fmt.Sprintf("CREATE TABLE u%d WITH ('connector'='filesystem', 'format'='parquet', 'path'='%s/%d') AS %s", i, dir, i, q)); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(text string, want ...string) {
		t.Helper()
		err := s.Exec(t.Context(), text)
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v, want %q", text, err, w)
			}
		}
	}
	refused("SELECT * FROM parquet.`"+dir+"/{0,1}`", `column "a" is`, "int32", "utf8", dir+"/0/", dir+"/1/", "no type holds both")
	refused("SELECT * FROM parquet.`"+dir+"/{0,2}`", `column "s.n" is`, "int32", "bool", dir+"/2/")
	// Columns that were declared are those of each file, unless an option says otherwise.
	for _, o := range []string{"", ", 'parquet.missing-columns'='null'"} {
		text := "CREATE OR REPLACE TABLE d (a INT) WITH ('connector'='filesystem', 'format'='parquet', 'path'='" + dir + "/{0,3}'" + o + ")"
		if err := s.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
		if o == "" {
			refused("SELECT a FROM d", dir+"/3/", `no column "a"`)
			continue
		}
		if got := strings.Join(firstColumn(t, s, "SELECT coalesce(a, -1) FROM d ORDER BY 1"), " "); got != "-1 1" {
			t.Error(got)
		}
	}
	// And an option may make a file that lacks a found column an error.
	refused("CREATE OR REPLACE TABLE m WITH ('connector'='filesystem', 'format'='parquet', 'path'='"+dir+"/{0,3}', 'parquet.missing-columns'='fail'); SELECT a FROM m", `no column "a"`)
}

// TestAStreamKeepsTheColumnsOfItsStart: later files are read by them, or refused by name.
func TestAStreamKeepsTheColumnsOfItsStart(t *testing.T) {
	s, dir := openSession(t, Options{}), t.TempDir()
	add := func(name, text string) {
		t.Helper()
		must(t, s, fmt.Sprintf("CREATE OR REPLACE TABLE w WITH ('connector'='filesystem', 'format'='parquet', 'path'='%s/%s') AS %s", dir, name, text))
	}
	add("1", "SELECT 1 AS a, 'x' AS b")
	must(t, s, "CREATE TABLE f WITH ('connector'='filesystem', 'format'='parquet', 'path'='"+dir+"/*', 'poll-interval'='1h')")
	q := start(t, s.Table("f").WriteToMemory("seen").Name("seen"))
	process(t, q)
	add("2", "SELECT CAST(2 AS BIGINT) AS a, 'left out' AS more") // lacks b, and a is wider but fits
	process(t, q)
	same(t, "two files", query(t, s, "SELECT * FROM seen ORDER BY a"), "1|x", "2|NULL")
	add("3", "SELECT CAST(30000000000 AS BIGINT) AS a")
	err := q.ProcessAllAvailable(t.Context())
	wantError(t, err, dir+"/3/")
	wantError(t, err, `column "a"`)
	wantError(t, err, "out of the declared type's range")
	same(t, "as a table", query(t, s, "SELECT max(a), count(more) FROM parquet.`"+dir+"/*`"), "30000000000|1")
}
