package sluice

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestStatelessQueriesReplayNothing removes input that was committed, as people
// do with files that were processed, and ends the query without a last checkpoint,
// as a crash does. A query without state needs nothing of it.
func TestStatelessQueriesReplayNothing(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	in := filepath.Join(dir, "in")
	if err := os.Mkdir(in, 0o755); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`
CREATE TABLE events (id BIGINT) WITH ('connector'='filesystem', 'path'='%s', 'format'='csv', 'max-files-per-trigger'='1', 'poll-interval'='10ms');
CREATE TABLE copied (id BIGINT) WITH ('connector'='filesystem', 'path'='%s', 'format'='csv');
CREATE STREAMING QUERY q TRIGGER IMMEDIATE CHECKPOINT '%s' AS INSERT INTO copied SELECT id FROM events`,
		in, filepath.Join(dir, "out"), filepath.Join(dir, "ck"))
	for run := range 3 {
		for f := range 2 {
			name := filepath.Join(in, fmt.Sprintf("%d-%d.csv", run, f))
			if err := os.WriteFile(name, []byte(fmt.Sprintf("id\n%d\n", 10*run+f)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		s, err := NewSession(Options{Settings: map[string]string{"checkpoint.interval": "1h"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Exec(ctx, script); err != nil {
			t.Fatalf("run %d: %v", run, err)
		}
		q, _ := s.Query("q")
		if err := q.ProcessAllAvailable(ctx); err != nil {
			t.Fatalf("run %d: %v", run, err)
		}
		q.Abandon()
		if err := q.Await(ctx); err != nil {
			t.Fatalf("run %d: %v", run, err)
		}
		rows, err := s.Table("copied").OrderBy("id").Collect(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) != 2*(run+1) || rows[len(rows)-1][0] != int64(10*run+1) {
			t.Errorf("run %d: the output is %v", run, rows)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(in); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(in, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
