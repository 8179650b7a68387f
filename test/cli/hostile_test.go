package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// list joins n pieces, made by their number.
func list(n int, sep string, piece func(i int) string) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(sep)
		}
		b.WriteString(piece(i))
	}
	return b.String()
}

func nest(n int, open, inner, end string) string {
	return strings.Repeat(open, n) + inner + strings.Repeat(end, n)
}

// hostile are statements of a size that nobody writes by hand. Each has one right
// answer, or an error that says which bound it breaks: a text that the output or
// the message holds.
var hostile = []struct {
	name, sql string
	code      int
	want      string
}{
	{"10,000 branches of CASE", "SELECT CASE x " + list(10000, " ", func(i int) string { return fmt.Sprintf("WHEN %d THEN %d", i, 2*i) }) + " END c FROM VALUES (9999) t(x)", done, "19998"},
	{"10,000 searched branches", "SELECT CASE " + list(10000, " ", func(i int) string { return fmt.Sprintf("WHEN x = %d THEN %d", i, 2*i) }) + " END c FROM VALUES (9999) t(x)", done, "19998"},
	{"10,000 OR", "SELECT count(*) FROM range(20000) t(x) WHERE " + list(10000, " OR ", func(i int) string { return fmt.Sprintf("(x > %d AND x < %d)", i, i+2) }), done, "\n10000\n"},
	{"10,000 AND", "SELECT count(*) FROM range(20000) t(x) WHERE " + list(10000, " AND ", func(i int) string { return fmt.Sprintf("x <> %d", i) }), done, "\n10000\n"},
	{"10,000 values of IN", "SELECT count(*) FROM range(20000) t(x) WHERE x IN (" + list(10000, ", ", func(i int) string { return fmt.Sprint(i) }) + ")", done, "\n10000\n"},
	{"10,000 UNION ALL", list(10000, " UNION ALL ", func(i int) string { return fmt.Sprintf("SELECT %d a", i) }), done, "\n9999\n"},
	{"10,000 pieces of a text", "SELECT length(" + list(10000, " || ", func(int) string { return "'ab'" }) + ") n", done, "20000"},
	{"10,000 sums", "SELECT " + list(10000, " + ", func(int) string { return "id" }) + " s FROM range(2)", done, "10000"},
	{"a text of a megabyte", "SELECT length('" + strings.Repeat("a", 1<<20) + "') n", done, "1048576"},
	{"a comment of a megabyte", "SELECT 1 /*" + strings.Repeat("x", 1<<20) + "*/ n", done, "1"},
	{"100,000 rows of VALUES", "SELECT count(*), sum(x) FROM (VALUES " + list(100000, ", ", func(i int) string { return fmt.Sprintf("(%d)", i) }) + ") t(x)", done, "100000,4999950000"},
	{"100,000 columns of VALUES", "SELECT col99999 FROM (VALUES (" + list(100000, ", ", func(i int) string { return fmt.Sprint(i) }) + ")) t", done, "99998"},
	{"10,000 aggregates", "SELECT " + list(10000, ", ", func(i int) string { return fmt.Sprintf("sum(id + %d)", i) }) + " FROM range(2)", done, "19999"},
	{"10,000 NOT", "SELECT " + strings.Repeat("NOT ", 10000) + "true", usage, "nested too deeply"},
	{"100,000 parentheses", "SELECT " + nest(100000, "(", "1", ")"), usage, "nested too deeply"},
	{"a million open parentheses", "SELECT " + strings.Repeat("(", 1000000), usage, "nested too deeply"},
	{"10,000 subqueries", "SELECT * FROM " + nest(10000, "(SELECT * FROM ", "range(3)", ")"), usage, "nested too deeply"},
	{"10,000 scalar subqueries", "SELECT " + nest(10000, "(SELECT ", "1", ")"), usage, "nested too deeply"},
	{"10,000 calls", "SELECT " + nest(10000, "abs(", "id", ")") + " FROM range(2)", usage, "nested too deeply"},
	{"200 calls", "SELECT " + nest(200, "abs(", "id", ")") + " a FROM range(2)", done, "1"},
	{"100 arrays", "SELECT " + nest(100, "array(", "1", ")") + " a", done, "[["},
	{"10,000 CASE in each other", "SELECT " + nest(10000, "CASE WHEN id = 1 THEN ", "1", " END") + " FROM range(2)", usage, "nested too deeply"},
	{"10,000 types in each other", "SELECT CAST(NULL AS " + nest(10000, "ARRAY<", "INT", ">") + ")", usage, "nested too deeply"},
	{"CTEs that double", "WITH t0 AS (SELECT 1 a), " + list(40, ", ", func(i int) string {
		return fmt.Sprintf("t%d AS (SELECT x.a FROM t%d x JOIN t%d y ON x.a = y.a)", i+1, i, i)
	}) + " SELECT count(*) FROM t40", usage, "expands to more than"},
	{"10,000 joins", "SELECT count(*) FROM range(1) t0 " + list(10000, " ", func(i int) string { return fmt.Sprintf("JOIN range(1) t%d ON t%d.id = t%d.id", i+1, i+1, i) }), usage, "more than 128 tables"},
	{"1,000 tables", "SELECT count(*) FROM " + list(1000, ", ", func(i int) string { return fmt.Sprintf("range(1) t%d", i) }), usage, "more than 128 tables"},
	{"100 joins", "SELECT count(*) FROM range(1) t0 " + list(100, " ", func(i int) string { return fmt.Sprintf("JOIN range(1) t%d ON t%d.id = t%d.id", i+1, i+1, i) }), done, "\n1\n"},
	{"200 windows", "SELECT " + list(200, ", ", func(i int) string { return fmt.Sprintf("sum(id) OVER (ORDER BY id + %d) w%d", i, i) }) + " FROM range(3)", done, "3,3,3"},
	{"200 subqueries", "SELECT " + list(200, " + ", func(i int) string { return fmt.Sprintf("(SELECT max(id) + %d FROM range(3))", i) }) + " s", done, "20300"},
	{"100 subqueries of a row", "SELECT " + list(100, " + ", func(i int) string {
		return fmt.Sprintf("(SELECT max(id) + %d FROM range(3) b WHERE b.id = a.id)", i)
	}) + " s FROM range(2) a", done, "5050"},
	{"10,000 keys of ORDER BY", "SELECT id FROM range(3) ORDER BY " + list(10000, ", ", func(i int) string { return fmt.Sprintf("id + %d", i) }), done, "0\n1\n2"},
	{"64 columns of CUBE", "SELECT count(*) FROM range(3) GROUP BY CUBE(" + list(64, ", ", func(i int) string { return fmt.Sprintf("id + %d", i) }) + ")", usage, "grouping sets"},
	{"a recursion without end", "WITH RECURSIVE t AS (SELECT 1 a UNION ALL SELECT a + 1 FROM t) SELECT count(*) FROM t", failed, "recursion.max-rounds"},
	{"the largest LIMIT", "SELECT * FROM range(3) ORDER BY id LIMIT 9223372036854775807", done, "\n2\n"},
	{"the largest OFFSET", "SELECT * FROM range(3) ORDER BY id LIMIT 9223372036854775807 OFFSET 9223372036854775807", done, "id\n"},
	{"a text of 2 GB", "SELECT length(repeat('a', 2147483647))", failed, "more than 268435456 bytes"},
	{"an array of 2 billion", "SELECT size(array_repeat(1, 2000000000))", failed, "is more than"},
	{"arrays that multiply", "SELECT size(array_repeat(array_repeat(array_repeat('aaaaaaaaaa', 1000), 1000), 100))", failed, "memory limit"},
	{"a text that doubles", "SELECT length(s) FROM (SELECT " + nest(40, "s || s s FROM (SELECT ", "'aaaaaaaaaa' s", ")") + ")", failed, "memory limit"},
	{"a recursion that doubles", "WITH RECURSIVE t AS (SELECT 'aaaaaaaaaa' a UNION ALL SELECT a || a FROM t) SELECT max(length(a)) FROM t", failed, "memory limit"},
	{"a sequence of 10 billion", "SELECT size(sequence(1, 10000000000))", failed, "a sequence of more than"},
	{"the head of a huge range", "SELECT * FROM range(1000000000000000000) LIMIT 2", done, "1\n"},
	{"the head of a huge join", "SELECT * FROM range(1000000) a CROSS JOIN range(10000000) b LIMIT 3", done, "\n0,0\n"},
	{"the head of an explosion", "SELECT count(*) FROM (SELECT explode(sequence(1, 1000000)) FROM range(1000) LIMIT 5000000)", done, "5000000"},
	{"a pattern that goes back and forth", "SELECT rlike(repeat('a', 50000), '(a*)*b') r", done, "false"},
	{"a LIKE of many parts", "SELECT repeat('a', 20000) LIKE '" + strings.Repeat("%a", 2000) + "b' r", done, "false"},
	{"JSON of 10,000 levels", "SELECT get_json_object('" + nest(10000, "[", "1", "]") + "', '$.a') j", done, "j\n"},
}

// TestHostileStatements runs each of them in a process of its own, with little
// memory: an answer or a bounded error, and never a trace of goroutines.
func TestHostileStatements(t *testing.T) {
	t.Parallel()
	for _, c := range hostile {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file := filepath.Join(dir, "hostile.sql")
			if err := os.WriteFile(file, []byte(c.sql), 0o600); err != nil {
				t.Fatal(err)
			}
			p := start(t, dir, "sql", "--format", "csv", "--set", "memory_limit=256MB", "-f", file)
			r := p.wait()
			if r.code != c.code || !strings.Contains("\n"+r.out+r.err, c.want) {
				t.Errorf("exit code %d, want %d and %q\n%s%s", r.code, c.code, c.want, r.out[max(0, len(r.out)-500):], r.err[:min(len(r.err), 500)])
			}
			if mb := peakMB(p); mb > 600 {
				t.Errorf("took %d MB of memory", mb)
			}
		})
	}
}

// TestInterruptOfHugeQueries pins that the first interrupt ends a query that
// would run for years, wherever it is.
func TestInterruptOfHugeQueries(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{
		"SELECT 'begun' x; SELECT * FROM range(10000000) a CROSS JOIN range(10000000) b",
		"SELECT 'begun' x; SELECT count(*) FROM range(10000000) a CROSS JOIN range(10000000) b",
		"SELECT 'begun' x; SELECT count(*) FROM range(1000000000000000000)",
		"SELECT 'begun' x; SELECT count(*) FROM (SELECT explode(sequence(1, 1000000)) FROM range(1000000000))",
	} {
		t.Run(strings.Fields(sql)[4]+sql[len(sql)-30:], func(t *testing.T) {
			t.Parallel()
			p := start(t, t.TempDir(), "sql", "--format", "csv", "--set", "memory_limit=256MB", "-c", sql)
			p.Until("some output", func() bool { return p.Out.String() != "" })
			p.Signal(syscall.SIGINT)
			if r := p.wait(); r.code == done {
				t.Errorf("exit code %d\n%s", r.code, r.err)
			}
			if mb := peakMB(p); mb > 600 {
				t.Errorf("took %d MB of memory", mb)
			}
		})
	}
}
