package sluice_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/sluice-stream/sluice"
)

// TestBlackholeIsStartedAgain: a query whose output is thrown away goes on in
// another process, which knows of no batch that its sink has shown.
func TestBlackholeIsStartedAgain(t *testing.T) {
	ctx := context.Background()
	dir := filepath.ToSlash(t.TempDir())
	for i := range 3 {
		s, err := sluice.NewSession(sluice.Options{})
		if err != nil {
			t.Fatal(err)
		}
		rows := 10 * (i + 1)
		err = s.Exec(ctx, fmt.Sprintf(`CREATE TABLE made (k BIGINT) WITH ('connector'='datagen', 'number-of-rows'='%d', 'fields.k.kind'='sequence');
CREATE TABLE out (k BIGINT, n BIGINT) WITH ('connector'='blackhole');
CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW OUTPUT MODE update CHECKPOINT '%s/ck' AS
INSERT INTO out SELECT k, count(*) FROM made GROUP BY k`, rows, dir))
		if err != nil {
			t.Fatal(err)
		}
		q, _ := s.Query("q")
		if err := q.Await(ctx); err != nil {
			t.Fatalf("life %d: %v", i, err)
		}
		if got := q.Totals().RowsIn; got != 10 {
			t.Errorf("life %d read %d rows", i, got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
