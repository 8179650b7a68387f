package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice"
)

// session is one of the test's own.
func session(t testing.TB, dir string) *sluice.Session {
	t.Helper()
	s, err := sluice.NewSession(sluice.Options{CheckpointDir: dir, Pipeline: true, Logger: slog.New(slog.DiscardHandler)})
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

func run(t testing.TB, s *sluice.Session, text string) {
	t.Helper()
	if err := s.Run(t.Context(), text, func(*sluice.Result) error { return nil }); err != nil {
		t.Fatal(err)
	}
}

// query returns a SELECT's rows as texts, in order.
func query(t testing.TB, s *sluice.Session, text string) []string {
	t.Helper()
	df, err := s.SQL(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := df.Collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range rows {
		cells := make([]string, len(r))
		for i, v := range r {
			cells[i] = fmt.Sprint(v)
		}
		out = append(out, strings.Join(cells, "|"))
	}
	slices.Sort(out)
	return out
}

func (s *server) with(table string, more string) string {
	return fmt.Sprintf("WITH ('connector'='postgres', 'url'='%s', 'password'='%s', 'table'='%s'%s)", s.url(), s.password(), table, more)
}

// What the sink has written the source reads back as it was.
func TestTypesComeBack(t *testing.T) {
	s := theServer(t)
	conn := s.connect(t)
	schema := s.schema(t, conn)
	ses := session(t, t.TempDir())
	const values = "VALUES (true, CAST(-7 AS TINYINT), CAST(-700 AS SMALLINT), 70000, 7000000000, CAST(0.1 AS FLOAT), 1e300, CAST('-1234567890.123456789' AS DECIMAL(28,9)), " +
		"'a\\tb\\n\"c\"', X'00FF', DATE '2024-02-29', TIMESTAMP '2024-03-31 01:30:00.123456', TIMESTAMP_NTZ '2024-03-31 02:30:00', INTERVAL '14' MONTH, INTERVAL '1 02:03:04.000005' DAY TO SECOND, " +
		"ARRAY('x', NULL, '\"}'), MAP('k', 1), NAMED_STRUCT('a', 1, 'b', 'two'), ARRAY(ARRAY(1), ARRAY(2, 3)))"
	const columns = "b BOOLEAN, i8 TINYINT, i16 SMALLINT, i32 INT, i64 BIGINT, f FLOAT, d DOUBLE, de DECIMAL(28,9), s STRING, bin BINARY, da DATE, ts TIMESTAMP, ntz TIMESTAMP_NTZ, " +
		"ym INTERVAL YEAR TO MONTH, ds INTERVAL DAY TO SECOND, arr ARRAY<STRING>, m MAP<STRING, INT>, st STRUCT<a: INT, b: STRING>, nested ARRAY<ARRAY<INT>>"
	run(t, ses, "CREATE TABLE o ("+columns+") "+s.with(schema+".o", ", 'create-table'='true'")+";\nINSERT INTO o "+values+";\n")
	exec1(t, conn, "INSERT INTO "+schema+".o (b) VALUES (NULL)")
	want := query(t, ses, "SELECT * FROM ("+values+")")
	if got := query(t, ses, "SELECT * FROM o WHERE b"); !slices.Equal(got, want) {
		t.Errorf("what came back is\n%q\nand was\n%q", got, want)
	}
	if got := query(t, ses, "SELECT * FROM o WHERE b IS NULL"); len(got) != 1 || strings.Trim(strings.ReplaceAll(got[0], "<nil>", ""), "|") != "" {
		t.Errorf("NULLs came back as %q", got)
	}
	// Found columns.
	run(t, ses, "CREATE TABLE found "+s.with(schema+".o", "")+";\n")
	if got := query(t, ses, "SELECT b, i16, i32, i64, f, d, de, s, bin, da, ts, ntz, arr FROM found WHERE b"); !slices.Equal(got,
		query(t, ses, "SELECT b, i16, i32, i64, f, d, de, s, bin, da, ts, ntz, arr FROM o WHERE b")) {
		t.Errorf("with columns that were found it is %q", got)
	}
}

// Splits, and conditions that go to the database, make no difference.
func TestScan(t *testing.T) {
	s := theServer(t)
	conn := s.connect(t)
	schema := s.schema(t, conn)
	exec1(t, conn, "CREATE TABLE "+schema+".t AS SELECT i::bigint AS id, CASE WHEN i % 7 > 0 THEN 'n' || i % 10 END AS name, DATE '2024-01-01' + i % 30 AS d, i / 3.0::float8 AS f, repeat('x', 200) AS pad FROM generate_series(1, 20000) i; ANALYZE "+schema+".t")
	ses := session(t, t.TempDir())
	run(t, ses, "CREATE TABLE one "+s.with(schema+".t", ", 'split-pages'='0'")+";\nCREATE TABLE many "+s.with(schema+".t", ", 'split-pages'='16'")+";\n")
	for _, c := range []struct{ where, pushed string }{
		{"true", ""}, {"id < 10", `"id" < '10'::bigint`}, {"19990 <= id", `"id" >= '19990'::bigint`}, {"name = 'n3' AND id <= 500", `"name" IN ('n3')`}, {"name IN ('n1', 'n2') OR id = 7", ""},
		{"name IS NULL", ""}, {"d = DATE '2024-01-05'", `"d" IN ((DATE '1970-01-01' + 19727))`}, {"d > DATE '2024-01-29'", `"d" > `}, {"f >= 6666", ""}, {"name > 'n7'", ""}, {"id IN (1, 5, 100000)", `"id" IN ('1'::bigint, '100000'::bigint, '5'::bigint)`},
	} {
		sql := "SELECT count(*), sum(id), min(name), max(f) FROM %s WHERE " + c.where
		want := rowsOf(t, conn, "SELECT count(*) FROM "+schema+".t WHERE "+c.where)[0]
		one, many := query(t, ses, fmt.Sprintf(sql, "one")), query(t, ses, fmt.Sprintf(sql, "many"))
		if !slices.Equal(one, many) || !strings.HasPrefix(one[0], want+"|") {
			t.Errorf("WHERE %s gave %q in one split, %q in many, and %s rows in the database", c.where, one, many, want)
		}
		text := ""
		if err := ses.Run(t.Context(), "EXPLAIN SELECT id FROM one WHERE "+c.where, func(r *sluice.Result) error { text = r.Plan; return nil }); err != nil {
			t.Fatal(err)
		}
		if c.pushed != "" && !strings.Contains(text, c.pushed) || c.pushed == "" && strings.Contains(text, "asked WHERE") {
			t.Errorf("WHERE %s: the plan is %s", c.where, text)
		}
	}
}

// lookupScript joins a stream with a table of the database.
func (s *server) lookupScript(schema, source, sink, cache string) string {
	return "CREATE TABLE src (id BIGINT, k BIGINT, p AS PROCTIME()) " + source + ";\n" +
		"CREATE TABLE dim (k INT, name STRING, active BOOLEAN) " + s.with(schema+".dim", cache) + ";\n" +
		"CREATE TABLE out (id BIGINT, k BIGINT, name STRING) " + sink + ";\n" +
		"CREATE STREAMING QUERY q AS INSERT INTO out SELECT s.id, s.k, d.name FROM src s LEFT JOIN dim FOR SYSTEM_TIME AS OF s.p AS d ON s.k = d.k AND d.active;\n"
}

func TestLookup(t *testing.T) {
	s := theServer(t)
	conn := s.connect(t)
	schema := s.schema(t, conn)
	exec1(t, conn, "CREATE TABLE "+schema+".dim (k int PRIMARY KEY, name text, active boolean); INSERT INTO "+schema+".dim SELECT i, 'name ' || i, i % 3 > 0 FROM generate_series(0, 30) i")
	ses := session(t, t.TempDir())
	run(t, ses, s.lookupScript(schema, "WITH ('connector'='datagen', 'number-of-rows'='5000', 'max-rows-per-trigger'='700', 'split-rows'='100', 'fields.id.kind'='sequence', 'fields.id.start'='0', 'fields.k.min'='0', 'fields.k.max'='50')",
		s.with(schema+".out", ", 'create-table'='true'"), ""))
	if err := ses.AwaitAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := rowsOf(t, conn, "SELECT count(*), count(DISTINCT o.id), count(*) FILTER (WHERE o.name IS DISTINCT FROM CASE WHEN d.active THEN d.name END), count(o.name) FROM "+schema+".out o LEFT JOIN "+schema+".dim d USING (k)")
	if !strings.HasPrefix(got[0], "5000|5000|0|") || strings.HasSuffix(got[0], "|0") {
		t.Errorf("rows, different rows, wrong names and names are %s", got[0])
	}
}

// What the database takes for the same is not always so here. A row that has several keys of a
// batch for the database comes once all the same, and meets the rows that a batch query has it meet.
func TestLookupByKeysThatTheDatabaseTakesForEqual(t *testing.T) {
	s := theServer(t)
	conn := s.connect(t)
	schema := s.schema(t, conn)
	const id = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
	exec1(t, conn, "CREATE COLLATION "+schema+".nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
	exec1(t, conn, "CREATE TABLE "+schema+".dim (u uuid, c char(4), t text COLLATE "+schema+".nocase, f float8, g real, n int); INSERT INTO "+schema+".dim VALUES "+
		"('"+id+"', 'ab', 'ab', 0, 0, 1), ('"+id+"', 'abcd', 'abcd', 1.5, 1.5, 2), (NULL, 'Ab', 'Ab', 'NaN', '-0', 3)")
	dir := t.TempDir()
	rows := "1," + id + ",0\n2," + strings.ToUpper(id) + ",-0.0\n3,{" + id + "},1.5\n4,ab,NaN\n5,\"ab  \",0\n6,Ab,1.5\n7,abcd,-0.0\n"
	if err := os.WriteFile(filepath.Join(dir, "rows.csv"), []byte(rows), 0o600); err != nil {
		t.Fatal(err)
	}
	ses := session(t, t.TempDir())
	run(t, ses, "CREATE TABLE src (id BIGINT, k STRING, f DOUBLE, p AS PROCTIME()) WITH ('connector'='filesystem', 'path'='"+dir+"', 'format'='csv', 'csv.header'='false');\n"+
		"CREATE TABLE dim (u STRING, c STRING, t STRING, f DOUBLE, g FLOAT, n INT) "+s.with(schema+".dim", "")+";\n")
	for i, on := range []string{"s.k = d.u", "s.k = d.c", "s.k = d.t", "s.f = d.f", "CAST(s.f AS FLOAT) = d.g"} {
		out := fmt.Sprintf("out%d", i)
		run(t, ses, "CREATE TABLE "+out+" (id BIGINT, n INT) "+s.with(schema+"."+out, ", 'create-table'='true'")+";\n"+
			"CREATE STREAMING QUERY q"+out+" TRIGGER AVAILABLE NOW AS INSERT INTO "+out+" SELECT s.id, d.n FROM src s LEFT JOIN dim FOR SYSTEM_TIME AS OF s.p AS d ON "+on+";\n")
		if err := ses.AwaitAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, want := rowsOf(t, conn, "SELECT id, coalesce(n, 0) FROM "+schema+"."+out), query(t, ses, "SELECT s.id, coalesce(d.n, 0) FROM src s LEFT JOIN dim d ON "+on)
		if !equalBags(got, want) {
			t.Errorf("ON %s: looked up are %q, and a batch query has %q", on, got, want)
		}
	}
}

func TestLookupsThatCannotBe(t *testing.T) {
	s := theServer(t)
	conn := s.connect(t)
	schema := s.schema(t, conn)
	exec1(t, conn, "CREATE TABLE "+schema+".dim (k int PRIMARY KEY, name text)")
	ses := session(t, t.TempDir())
	run(t, ses, "CREATE TABLE src (id BIGINT, k INT, p AS PROCTIME()) WITH ('connector'='datagen');\nCREATE TABLE dim (k INT, name STRING) "+s.with(schema+".dim", "")+
		";\nCREATE TABLE bad (k INT, nothing STRING) "+s.with(schema+".dim", "")+";\nCREATE TABLE out (id BIGINT, n STRING) WITH ('connector'='blackhole');\n")
	for sql, want := range map[string]string{
		"SELECT s.id, d.name FROM src s JOIN dim d ON s.k = d.k":                                            "look rows up in it by key",
		"SELECT s.id, d.name FROM src s JOIN dim FOR SYSTEM_TIME AS OF s.p AS d ON s.k > d.k":               "compare columns of it",
		"SELECT s.id, d.name FROM src s JOIN dim FOR SYSTEM_TIME AS OF s.p AS d ON s.k = d.k + 1":           "compare columns of it",
		"SELECT s.id, d.nothing FROM src s JOIN bad FOR SYSTEM_TIME AS OF s.p AS d ON s.k = d.k":            `has no column "nothing"`,
		"SELECT max(s.id), d.name FROM src s JOIN dim FOR SYSTEM_TIME AS OF s.p AS d ON s.k=d.k GROUP BY 2": "output mode",
	} {
		err := ses.Run(t.Context(), "CREATE STREAMING QUERY q AS INSERT INTO out "+sql, func(*sluice.Result) error { return nil })
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gave %v", sql, err)
		}
	}
	if err := ses.AwaitAll(t.Context()); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
