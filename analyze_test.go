package sluice

import (
	"context"
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// planOf runs an EXPLAIN and returns what it prints.
func planOf(t *testing.T, s *Session, text string) string {
	t.Helper()
	var plan string
	err := s.Run(context.Background(), text, func(r *Result) error {
		plan = r.Plan
		if r.Rows == nil {
			return nil
		}
		return r.Rows.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func analyzeSession(t *testing.T, settings map[string]string) *Session {
	t.Helper()
	s, err := NewSession(Options{Settings: settings})
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

// masks are the figures that no two runs have in common.
var masks = []struct{ re, with string }{
	{`peak memory of the process .*`, "peak memory of the process M"},
	{` in [0-9.]+[nµm]?s`, " in T"},
	{`the longest [0-9.]+[nµm]?s`, "the longest T"},
	{` +[0-9.]+[nµm]?s +[0-9.]+[nµm]?s  `, " T T "},
	{` [0-9.]+ ([KM]i)?B`, " M"},
}

func masked(plan string) string {
	for _, m := range masks {
		plan = regexp.MustCompile(m.re).ReplaceAllString(plan, m.with)
	}
	return plan
}

func TestExplainAnalyze(t *testing.T) {
	s := analyzeSession(t, map[string]string{"parallelism": "2"})
	got := masked(planOf(t, s, `EXPLAIN ANALYZE
		SELECT x % 2, count(*) FROM (VALUES (1), (2), (3), (4), (5)) t(x) WHERE x > 1 GROUP BY x % 2`))
	for _, want := range []string{
		"2 rows in T, peak memory of the process M\n", "Stage 0 single -> client: 1 tasks, the longest T\n",
		"rows       time       self     memory    spilled  operator\n",
		"             4 T T ", "Filter (col1#0 > 1)\n", "             5 T T ", "Values 5 rows\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("there is no %q in\n%s", want, got)
		}
	}
}

// TestExplainAnalyzeSpill runs a sort that does not fit, and a statement that writes.
func TestExplainAnalyzeSpill(t *testing.T) {
	s := analyzeSession(t, map[string]string{"memory_limit": "32MB", "parallelism": "2"})
	plan := planOf(t, s, `EXPLAIN (ANALYZE, FORMAT JSON) SELECT id, repeat('x', 100) FROM range(200000) ORDER BY hash(id)`)
	var p planJSON
	if err := json.Unmarshal([]byte(plan), &p); err != nil {
		t.Fatal(err)
	}
	var sorted *workJSON
	var walk func(o operatorJSON)
	walk = func(o operatorJSON) {
		if strings.HasPrefix(o.Operator, "Sort ") {
			sorted = o.Run
		}
		for _, in := range o.Inputs {
			walk(in)
		}
	}
	for _, st := range p.Stages {
		walk(st.Plan)
	}
	if p.Run.Rows != 200000 || sorted == nil || sorted.Rows != 200000 || sorted.SpilledBytes < 20<<20 || sorted.MemoryBytes < 1<<20 || sorted.MemoryBytes > 32<<20 {
		t.Fatalf("the sort did %+v in\n%s", sorted, plan)
	}
}

func TestExplainAnalyzeRunsStatements(t *testing.T) {
	s := analyzeSession(t, nil)
	dir := filepath.Join(t.TempDir(), "out")
	plan := planOf(t, s, `CREATE TABLE o (a BIGINT) WITH ('connector'='filesystem','path'='`+dir+`','format'='csv');
		EXPLAIN ANALYZE INSERT INTO o SELECT id FROM range(7)`)
	if !strings.Contains(plan, "7 rows inserted into o in ") || !strings.Contains(plan, "sink o#0") {
		t.Errorf("got\n%s", plan)
	}
	if plan = planOf(t, s, "EXPLAIN ANALYZE SELECT count(*) FROM o"); !strings.Contains(plan, "1 rows in") {
		t.Errorf("got\n%s", plan)
	}
	if err := s.Exec(context.Background(), "EXPLAIN ANALYZE CREATE TABLE x (a INT) WITH ('connector'='memory')"); err == nil || !IsSyntaxOrPlanError(err) {
		t.Errorf("a command was analysed: %v", err)
	}
}

// TestExplainOfEverything pins that EXPLAIN answers and changes nothing.
func TestExplainOfEverything(t *testing.T) {
	s := analyzeSession(t, nil)
	for text, want := range map[string]string{
		"EXPLAIN CREATE TABLE x (a INT) WITH ('connector'='memory')":       "== Command, no rows are read ==\nCREATE TABLE x",
		"EXPLAIN CREATE VIEW v AS SELECT 1 a":                              "== Stages ==",
		"EXPLAIN DROP TABLE x":                                             "DROP TABLE x",
		"EXPLAIN SET parallelism = 3":                                      "SET 'parallelism' = '3'",
		"EXPLAIN CREATE TABLE y WITH ('connector'='memory') AS SELECT 1 a": "== Stages ==",
		"EXPLAIN (FORMAT JSON) SELECT 1 a":                                 "\"operator\": ",
		"EXPLAIN (FORMAT JSON) DROP TABLE x":                               "\"command\": ",
		"EXPLAIN (FORMAT TEXT, EXTENDED) SELECT 1 a":                       "== Logical plan ==",
		"EXPLAIN (SELECT 1 a)":                                             "== Logical plan ==",
	} {
		if plan := planOf(t, s, text); !strings.Contains(plan, want) {
			t.Errorf("%s: there is no %q in\n%s", text, want, plan)
		}
	}
	for _, name := range []string{"x", "y", "v"} {
		if old, _ := s.cat.Relation(name); old != nil {
			t.Errorf("EXPLAIN made %s", name)
		}
	}
	if got := s.set.get(setParallelism); got == "3" {
		t.Error("EXPLAIN changed a setting")
	}
	for _, bad := range []string{"EXPLAIN (FORMAT XML) SELECT 1", "EXPLAIN (ANALYZE, VERBOSE) SELECT 1", "EXPLAIN (FORMAT JSON SELECT 1"} {
		if err := s.Exec(context.Background(), bad); err == nil || !IsSyntaxOrPlanError(err) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
