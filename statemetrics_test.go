package sluice_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/sluice-stream/sluice"
)

// TestStateMetrics: progress tells where the rows of a state are: in memory, and
// after a new start in the files of the checkpoint, too.
func TestStateMetrics(t *testing.T) {
	ctx := context.Background()
	dir := filepath.ToSlash(t.TempDir())
	for life, rows := range []int{20_000, 20_500} {
		s, err := sluice.NewSession(sluice.Options{})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Exec(ctx, fmt.Sprintf(`CREATE TABLE made (k BIGINT, p STRING) WITH ('connector'='datagen', 'number-of-rows'='%d', 'fields.k.kind'='sequence');
CREATE TABLE out (k BIGINT, p STRING) WITH ('connector'='blackhole');
CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW OUTPUT MODE update CHECKPOINT '%s/ck' AS
INSERT INTO out SELECT k %% 19000, max(p) FROM made GROUP BY k %% 19000`, rows, dir))
		if err != nil {
			t.Fatal(err)
		}
		q, _ := s.Query("q")
		if err := q.Await(ctx); err != nil {
			t.Fatal(err)
		}
		ops := q.Progress().StateOperators
		if len(ops) != 1 {
			t.Fatalf("operators: %+v", ops)
		}
		m := ops[0].CustomMetrics
		if m["hotBytes"] == 0 {
			t.Errorf("life %d: no rows in memory: %v", life, m)
		}
		if life == 0 && m["keysInMemory"] == 0 {
			t.Errorf("nothing was asked for: %v", m)
		}
		if life == 1 && (m["keysInMemory"]+m["keysReadFromFiles"] != 500 || m["coldBytes"] == 0 || m["sortedRuns"] == 0) {
			t.Errorf("a state that was restored: %v", m)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
