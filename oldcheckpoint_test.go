package sluice

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestOldCheckpoint: a checkpoint as version 0.1 has written it (22 November 2026) is
// read, and goes on, with every kind of file that it has: log, metadata, description of
// the plan, state, savepoint and list of sources. A change that renames its operator
// makes the state of all who run such a query worthless, and fails here.
func TestOldCheckpoint(t *testing.T) {
	from, err := filepath.Abs("testdata/checkpoint-1")
	if err != nil {
		t.Fatal(err)
	}
	b := newStateBed(t)
	if err := os.CopyFS(b.dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	t.Chdir(b.dir)
	const tables = `CREATE TABLE ev (id BIGINT, k STRING, v BIGINT) WITH ('connector'='filesystem','path'='in','format'='csv','max-files-per-trigger'='1');
	CREATE TABLE res (k STRING, n BIGINT, s BIGINT) WITH ('connector'='memory');`
	const query = ` AS INSERT INTO res SELECT k, count(*), sum(v) FROM ev WHERE v % 2 >= 0 GROUP BY k`
	diff, err := DiffPlan(t.Context(), Options{}, "q", tables+"CREATE STREAMING QUERY q OUTPUT MODE update PARALLELISM 2 CHECKPOINT 'q'"+query, "")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(diff.Lines(), "state   kept    aggregate-0d86293745f8") {
		t.Errorf("plan-diff: %s", strings.Join(diff.Lines(), "\n"))
	}
	if list, err := Savepoints("q"); err != nil || len(list) != 1 || list[0].Name != "three" {
		t.Fatalf("savepoints: %+v %v", list, err)
	}
	for _, start := range []struct{ name, clauses string }{
		{"q", "PARALLELISM 3 CHECKPOINT 'q'"},
		{"f", "CHECKPOINT 'f' FROM CHECKPOINT 'q' SAVEPOINT 'three'"},
	} {
		if err := os.RemoveAll(filepath.Join(b.dir, "in")); err != nil { // what was read before is not there any more
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(b.dir, "in"), 0o755); err != nil {
			t.Fatal(err)
		}
		s, err := NewSession(Options{Pipeline: true, Stdout: &b.out, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		b.exec(s, tables)
		b.same("as it was", b.rows(s, "SELECT k, `count(*).0`, `sum(v).0` FROM state('q', 'aggregate-0d86293745f8', batch => 2)"), b.want(3))
		b.exec(s, "CREATE STREAMING QUERY "+start.name+" OUTPUT MODE update "+start.clauses+query)
		b.feed(3)
		q := b.drained(s, start.name)
		b.same(start.name, b.rows(s, "SELECT * FROM res"), b.want(4))
		if r, ok := q.Recovery(); start.name == "q" && (!ok || r.CheckpointBatch != 2 || r.Rows != 7) {
			t.Errorf("recovered: %v %+v", ok, r)
		}
		b.close(s)
	}
}
