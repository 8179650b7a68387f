package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const table = "CREATE TABLE t (id BIGINT, name STRING) WITH ('connector'='filesystem','path'='in','format'='csv');\n"

// TestRefusedSQL finds what is wrong with a text before anything runs, says
// where, and suggests the name that was perhaps meant.
func TestRefusedSQL(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "in", "a.csv", "id,name\n1,a\n")
	for name, c := range map[string]struct{ sql, want string }{
		"column":               {"SELECT nmae FROM t", `2:8: .*"nmae".*did you mean "name"`},
		"table":                {"SELECT * FROM tt", `2:15: .*"tt".*did you mean "t"`},
		"function":             {"SELECT uper(name) FROM t", `2:8: .*"uper".*did you mean "upper"`},
		"setting":              {"SET 'paralelism' = '4'", `2:1: .*'paralelism'.*did you mean "parallelism"`},
		"value of a setting":   {"SET 'parallelism' = 'x'", `2:1: .*'parallelism' = 'x': want a whole number`},
		"time zone":            {"SET TIME ZONE 'Europe/Berlim'", `2:15: .*unknown time zone "Europe/Berlim"`},
		"option":               {"CREATE TABLE u (id BIGINT) WITH ('connector'='filesystem','pth'='x')", `2:14: .*'pth'.*did you mean "path"`},
		"value of an option":   {"CREATE TABLE u (id BIGINT) WITH ('connector'='filesystem','path'='x','format'='parket')", `2:14: .*'format' = 'parket'.*parquet`},
		"connector":            {"CREATE TABLE u (id BIGINT) WITH ('connector'='filesistem')", `2:14: .*"filesistem".*did you mean "filesystem"`},
		"no connector":         {"CREATE TABLE u (id BIGINT)", `2:\d+: .*needs the option 'connector'`},
		"type":                 {"CREATE TABLE u (id BIGINTT) WITH ('connector'='blackhole')", `2:20: .*BIGINTT`},
		"trigger":              {"CREATE STREAMING QUERY q TRIGGER SOMETIMES AS INSERT INTO t SELECT * FROM t", `2:34: `},
		"interval":             {"CREATE STREAMING QUERY q TRIGGER EVERY '1 fortnight' AS INSERT INTO t SELECT * FROM t", `2:\d+: .*1 fortnight.*such as`},
		"mode":                 {"CREATE STREAMING QUERY q OUTPUT MODE upsert AS INSERT INTO t SELECT * FROM t", `2:38: .*APPEND, UPDATE`},
		"clause":               {"SELECT id FROM t FOR UPDATE", `2:\d+: .*UPDATE`},
		"statement":            {"DELETE FROM t WHERE id = 1", `2:1: `},
		"half a statement":     {"SELECT id FROM t WHERE", `2:\d+: .*end of the text`},
		"second line":          {"SELECT id\nFROM t\nWHERE idd = 1", `4:7: .*"idd".*did you mean "id"`},
		"open string":          {"SELECT 'abc", `2:8: `},
		"grouping":             {"SELECT name, count(*) FROM t GROUP BY id", `2:8: .*name.*GROUP BY`},
		"columns of an insert": {"INSERT INTO t SELECT id FROM t", `2:\d+: `},
		"sink's column":        {"INSERT INTO t (id, nmae) SELECT * FROM t", `2:20: .*"nmae".*did you mean "name"`},
		"query":                {"STOP STREAMING QUERY nope", `2:\d+: .*"nope"`},
		"column of a source":   {"CREATE TABLE u (ts TIMESTAMP) WITH ('connector'='rate')", `2:1: .*has no column "ts"`},
		"endless":              {"CREATE TABLE u WITH ('connector'='rate'); SELECT * FROM u", `"u" never ends`},
		"exists already":       {table, `2:14: "t" exists already`},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			for _, args := range [][]string{{"sql", "-c"}, {"explain", "-c"}} {
				if args[0] == "explain" && name == "endless" {
					continue // it has a plan
				}
				r := refuses(t, dir, usage, []string{c.want}, append(args, table+c.sql)...)
				if strings.Contains(r.out, "|") {
					t.Errorf("rows were printed: %s", r.out)
				}
			}
		})
	}
}

// TestRefusedPlan is SQL that makes sense and cannot run as a stream so.
func TestRefusedPlan(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "in", "a.csv", "id,name\n1,a\n")
	for name, c := range map[string]struct{ sql, want string }{
		"append of what changes": {"CREATE STREAMING QUERY q AS INSERT INTO o SELECT id, count(*) FROM t GROUP BY id", `3:1: output mode append .*OUTPUT MODE update`},
		"mode of a sink":         {"CREATE STREAMING QUERY q OUTPUT MODE changelog AS INSERT INTO f SELECT id, count(*) FROM t GROUP BY id", `3:1: .*cannot take output mode changelog: use 'format' = 'debezium-json'`},
		"first rows of a stream": {"CREATE STREAMING QUERY q AS INSERT INTO o SELECT id, id FROM t ORDER BY id LIMIT 3", `3:\d+: `},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir, "in", "a.csv", "id,name\n1,a\n")
			write(t, dir, "p.sql", table+`CREATE TABLE o (a BIGINT, b BIGINT) WITH ('connector'='console'); CREATE TABLE f (a BIGINT, b BIGINT) WITH ('connector'='filesystem','path'='f','format'='csv');`+"\n"+c.sql)
			refuses(t, dir, usage, []string{c.want}, "run", "--once", "p.sql")
			if _, err := os.Stat(filepath.Join(dir, "checkpoints")); err == nil {
				t.Error("a refused query has made a checkpoint")
			}
		})
	}
}

// TestCommandLine checks what is wrong with the command line itself.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "empty.sql", "-- nothing\n")
	write(t, dir, "one.sql", "SELECT 1;")
	for _, c := range []struct {
		args string
		want string
	}{
		{"nope", `unknown command "nope"`},
		{"rnu one.sql", `unknown command "rnu".*did you mean "run"`},
		{"checkpoint verfy x", `unknown command "verfy".*did you mean "verify"`},
		{"run", "takes one argument, the file of the pipeline"},
		{"run a.sql b.sql", "takes one argument"},
		{"run missing.sql", "missing.sql: no such file"},
		{"run .", "is a directory"},
		{"run empty.sql", "holds no statement"},
		{"run --nope one.sql", "unknown flag: --nope"},
		{"run --until-idle soon one.sql", `soon`},
		{"run --format xml one.sql", "--format xml: want table, csv, json or arrow"},
		{"run --http 0.0.0.0:0 one.sql", "only a loopback address"},
		{"run --http :0 one.sql", "only a loopback address"},
		{"run --http 192.0.2.1:0 one.sql", "only a loopback address"},
		{"run --http example.com:80 one.sql", "only a loopback address"},
		{"run --http 8080 one.sql", "want HOST:PORT"},
		{"run --http 127.0.0.1:x one.sql", "--http"},
		{"run --until-idle -1s one.sql", "--until-idle"},
		{"sql -f missing.sql", "missing.sql: no such file"},
		{"sql -f one.sql -c SELECT", "not both"},
		{"sql one.sql", "takes no argument"},
		{"sql --format yaml -c SELECT", "--format yaml"},
		{"sql --set a -c SELECT", "want key=value"},
		{"sql --set a=b -c SELECT", "unknown option 'a'"},
		{"sql --set paralelism=2 -c SELECT", `did you mean "parallelism"`},
		{"sql --set parallelism=many -c SELECT", "want a whole number"},
		{"sql --set memory_limit=lots -c SELECT", "memory_limit"},
		{"sql --set session.time-zone=Mars -c SELECT", "unknown time zone"},
		{"sql --log loud -c SELECT", "want debug, info, warn or error"},
		{"explain", "one of -c and -f"},
		{"explain -f missing.sql", "missing.sql"},
		{"checkpoint list missing", "missing"},
		{"checkpoint list .", "no checkpoint in or below"},
		{"checkpoint describe .", "there is no checkpoint"},
		{"checkpoint verify .", "there is no checkpoint"},
		{"checkpoint verify", "takes one argument"},
		{"version x", "takes no argument"},
		{"doctor x", "takes no argument"},
	} {
		t.Run(strings.ReplaceAll(c.args, " ", "_"), func(t *testing.T) {
			t.Parallel()
			r := refuses(t, dir, usage, []string{c.want}, strings.Fields(c.args)...)
			if r.out != "" {
				t.Errorf("output: %s", r.out)
			}
			if n := strings.Count(strings.TrimSpace(r.err), "\n"); n > 0 {
				t.Errorf("%d lines of error:\n%s", n+1, r.err)
			}
		})
	}
}

// TestRunTimeFailures are queries that are right and fail over their data.
func TestRunTimeFailures(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for sql, want := range map[string]string{
		"SELECT 1 / 0":              "division by zero",
		"SELECT CAST('abc' AS INT)": "abc",
		"SELECT 9223372036854775807 + id FROM (VALUES (1L)) AS v(id)": "(?i)overflow",
	} {
		r := refuses(t, dir, failed, []string{want}, "sql", "--format", "csv", "-c", sql)
		if strings.Contains(r.err, "query") && strings.Count(r.err, "\n") > 1 {
			t.Errorf("more than one line: %s", r.err)
		}
	}
}

// TestNothingToDo is no error where a program may have made the text.
func TestNothingToDo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, sql := range []string{"", " ", ";", "-- comment", "/* more */ ;;"} {
		if out := ok(t, dir, "sql", "-c", sql); out != "" {
			t.Errorf("%q gives %q", sql, out)
		}
	}
	if out := ok(t, dir); !strings.Contains(out, "Available Commands") {
		t.Errorf("no help: %s", out)
	}
}
