package nexmark

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

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

// TestMany is TestQueries for millions of events: the batch answer is written to
// files, which DuckDB compares with its own, and streams are held to the batch
// answer by count and digest. Nothing is held in memory whole but what a query needs.
func TestMany(t *testing.T) {
	if *events <= fewEvents {
		t.Skip("TestQueries is for so few events")
	}
	ctx, db, all, dir := t.Context(), duckdb.Start(t), session(t, "2", 0), t.TempDir()
	for _, set := range []string{"SET TimeZone = 'UTC'", "SET memory_limit = '4GB'", "SET threads = 2", "SET preserve_insertion_order = false",
		"SET temp_directory = '" + filepath.Join(dir, "spill") + "'"} {
		if err := db.Exec(ctx, set); err != nil {
			t.Fatal(err)
		}
	}
	load(t, db, all, dir, "VIEW")
	for _, q := range wanted() {
		if q.Name == "q12" {
			continue // its windows are of the wall clock; TestQueries adds up its counts
		}
		t.Run(q.Name, func(t *testing.T) {
			start := time.Now()
			path := filepath.Join(t.TempDir(), "ours")
			if err := all.Exec(ctx, fmt.Sprintf("CREATE TABLE ours_%s WITH ('connector'='filesystem', 'path'='%s', 'format'='parquet') AS %s", q.Name, path, q.SQL)); err != nil {
				t.Fatal(err)
			}
			var want sums
			if err := each(ctx, all, "SELECT * FROM ours_"+q.Name, func(rec arrow.RecordBatch) { countAll(&want, rec) }); err != nil {
				t.Fatal(err)
			}
			batched := time.Since(start)
			compareFiles(t, db, q, path+"/**/*.parquet")
			compared := time.Since(start)
			for i, size := range manySizes() {
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
			t.Logf("%d rows; batch %.1f s, DuckDB %.1f s, streams %.1f s", want.rows, batched.Seconds(), (compared - batched).Seconds(), (time.Since(start) - compared).Seconds())
		})
	}
}

// manySizes are sizes of micro-batches that do not hold all events at once, as what
// a batch puts out waits in memory: half a million, and an odd number with a restart.
func manySizes() []int {
	if *cuts != "" {
		return sizes()
	}
	return []int{min(*events/2+1, 500_000), min(*events/3+1, 350_001)}
}

// compareFiles has DuckDB compare rows in files with its own answer: by a sum of
// hashes, which needs little memory, and only if that differs row by row.
func compareFiles(t *testing.T, db *duckdb.Engine, q Query, files string) {
	t.Helper()
	ours, other := fmt.Sprintf("(SELECT * FROM '%s')", files), "("+theirs(q)+")"
	// The union gives the columns of both sides the same types, on which hashes depend.
	_, rows, err := db.Query(t.Context(), fmt.Sprintf("WITH u AS (SELECT 0 AS side, * FROM %s AS a UNION ALL SELECT 1, * FROM %s AS b) "+
		"SELECT COUNT(*) FILTER (side = 0), COUNT(*) FILTER (side = 1), SUM(CASE side WHEN 0 THEN h ELSE -h END) "+
		"FROM (SELECT side, CAST(hash(*COLUMNS(* EXCLUDE (side))) AS HUGEINT) AS h FROM u) AS x", other, ours))
	if err != nil {
		t.Fatal(err)
	}
	if rows[0][0] == rows[0][1] && (rows[0][2] == "0" || rows[0][2] == "NULL") {
		return
	}
	_, diff, err := db.Query(t.Context(), fmt.Sprintf("SELECT (SELECT COUNT(*) FROM (SELECT * FROM %s AS a EXCEPT ALL SELECT * FROM %s AS b)),"+
		" (SELECT COUNT(*) FROM (SELECT * FROM %s AS b EXCEPT ALL SELECT * FROM %s AS a))", other, ours, ours, other))
	if err != nil {
		t.Fatal(err)
	}
	t.Errorf("as a batch: of DuckDB's %s rows %s are missing, and of %s rows %s are too much", rows[0][0], diff[0][0], rows[0][1], diff[0][1])
}
