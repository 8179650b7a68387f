package nexmark

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/slt/duckdb"
)

// fewEvents are those whose rows are compared one by one in memory.
const fewEvents = 200_000

// sums counts rows by the sum of their digests.
type sums struct {
	rows   int
	digest batch.Digest
	buf    []byte
}

func (s *sums) count(cols []arrow.Array, row, by int) {
	s.buf = s.buf[:0]
	for _, col := range cols {
		if col.IsNull(row) {
			s.buf = append(s.buf, 0)
			continue
		}
		s.buf = append(utc.AppendText(append(s.buf, 1), col, row), 0)
	}
	h := xxh3.Hash128(s.buf)
	d := batch.Digest{Hi: h.Hi, Lo: h.Lo}
	if s.rows += by; by > 0 {
		s.digest = s.digest.Add(d)
	} else {
		s.digest = s.digest.Sub(d)
	}
}

// TestMany is TestQueries for millions of events: DuckDB subtracts the batch answer
// from its own, and streams are held to the batch answer by count and digest.
func TestMany(t *testing.T) {
	if *events <= fewEvents {
		t.Skip("TestQueries is for so few events")
	}
	ctx, db, all, dir := t.Context(), duckdb.Start(t), session(t, "4", 0), t.TempDir()
	load(t, db, all, dir)
	if err := db.Exec(ctx, "SET TimeZone = 'UTC'"); err != nil {
		t.Fatal(err)
	}
	for _, q := range wanted() {
		if q.Name == "q12" {
			continue // its windows are of the wall clock; TestQueries adds up its counts
		}
		t.Run(q.Name, func(t *testing.T) {
			var want sums
			if err := each(ctx, all, q.SQL, func(rec arrow.RecordBatch) { countAll(&want, rec) }); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "ours")
			if err := all.Exec(ctx, fmt.Sprintf("CREATE TABLE ours_%s WITH ('connector'='filesystem', 'path'='%s', 'format'='parquet') AS %s", q.Name, path, q.SQL)); err != nil {
				t.Fatal(err)
			}
			ours := fmt.Sprintf("(SELECT * FROM '%s/**/*.parquet')", path)
			other := "(" + theirs(q) + ")"
			_, rows, err := db.Query(ctx, fmt.Sprintf("SELECT (SELECT COUNT(*) FROM (SELECT * FROM %s AS a EXCEPT ALL SELECT * FROM %s AS b)),"+
				" (SELECT COUNT(*) FROM (SELECT * FROM %s AS b EXCEPT ALL SELECT * FROM %s AS a))", other, ours, ours, other))
			if err != nil {
				t.Fatal(err)
			}
			if rows[0][0] != "0" || rows[0][1] != "0" {
				t.Errorf("as a batch: of %d rows %s of DuckDB's are missing and %s are too much", want.rows, rows[0][0], rows[0][1])
			}
			for i, size := range sizes() {
				out := &outcome{fresh: func() changes { return &sums{} }, batches: map[int64]changes{}}
				runAll(t, q, out, size, i%2 == 1)
				var got sums
				for _, c := range out.batches {
					got.rows, got.digest = got.rows+c.(*sums).rows, got.digest.Add(c.(*sums).digest)
				}
				if got.rows != want.rows || got.digest != want.digest {
					t.Errorf("streamed by %d events: %d rows with digest %s, want %d with %s", size, got.rows, got.digest, want.rows, want.digest)
				}
			}
		})
	}
}
