package semantics

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice"
)

// TestChangedQueries starts a query on a checkpoint that another one has written
// (SPARK-29438: a branch of UNION was added, and each aggregate went on from the
// state of its neighbour). It is refused, or goes on with what is its own.
func TestChangedQueries(t *testing.T) {
	const one = "SELECT 'a' AS what, count(*) AS n FROM a"
	for name, c := range map[string]struct{ before, after, refused string }{
		"same":                  {one, one, ""},
		"a branch is added":     {one, one + " UNION ALL SELECT 'b', sum(v) FROM b", "checkpoint"},
		"a branch before it":    {one, "SELECT 'b' AS what, sum(v) AS n FROM b UNION ALL " + one, "checkpoint"},
		"branches change place": {one + " UNION ALL SELECT 'b', count(*) FROM b", "SELECT 'b' AS what, count(*) AS n FROM b UNION ALL SELECT 'a', count(*) FROM a", "checkpoint"},
		"another key":           {"SELECT k AS what, count(*) AS n FROM a GROUP BY k", "SELECT CAST(v AS STRING) AS what, count(*) AS n FROM a GROUP BY v", "checkpoint"},
		"another aggregate":     {one, "SELECT 'a' AS what, sum(v) AS n FROM a", "checkpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			start := func(sql string) (*output, error) {
				out := &output{batches: map[int64]*outBatch{}}
				return out, changedRun(t.Context(), dir, sql, out)
			}
			if _, err := start(c.before); err != nil {
				t.Fatal(err)
			}
			out, err := start(c.after)
			switch {
			case c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)):
				t.Fatalf("%s behind %s: %v, want a refusal that names the %s; it put out %v", c.after, c.before, err, c.refused, out.batches)
			case c.refused == "" && err != nil:
				t.Fatal(err)
			case c.refused == "":
				rows, err := out.accumulated(sluice.Complete, nil)
				if err != nil || len(rows) != 1 || rows[0] != "(a 4)" {
					t.Errorf("got %v, %v, want (a 4)", rows, err)
				}
			}
		})
	}
}

// changedRun feeds a row to each table and runs a query over all there is.
func changedRun(ctx context.Context, dir, sql string, out *output) error {
	s, err := sluice.NewSession(sluice.Options{CheckpointDir: filepath.Join(dir, "ck"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer s.Close()
	for _, table := range []string{"a", "b"} {
		path := filepath.Join(dir, table)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		files, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(path, string(rune('p'+len(files)))+".csv"), []byte("k,v\nx,1\ny,2\n"), 0o644); err != nil {
			return err
		}
		ddl := "CREATE TABLE " + table + " (k STRING, v BIGINT) WITH ('connector'='filesystem', 'path'='" + path + "', 'format'='csv')"
		if err := s.Exec(ctx, ddl); err != nil {
			return err
		}
	}
	df, err := s.SQL(ctx, sql)
	if err != nil {
		return err
	}
	q, err := df.ForeachBatch(out.take).Name("q").Mode(sluice.Complete).Trigger(sluice.AvailableNow()).Start(ctx)
	if err != nil {
		return err
	}
	return q.Await(ctx)
}
