package windowed

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/sluice-stream/sluice"
)

// events is how many Nexmark events the input is made of; 46 of 50 are bids.
const events = 10_000_000

const bids = events / 50 * 46

func session(b *testing.B) *sluice.Session {
	b.Helper()
	s, err := sluice.NewSession(sluice.Options{
		CheckpointDir: filepath.Join(b.TempDir(), "ck"), Pipeline: true,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

// input writes the bids once, as a handful of Parquet files.
func input(b *testing.B, s *sluice.Session) string {
	b.Helper()
	dir := b.TempDir()
	err := s.Exec(context.Background(), fmt.Sprintf(`
CREATE TABLE gen WITH ('connector'='nexmark', 'event-type'='bid', 'events'='%d');
CREATE TABLE files (auction BIGINT, price BIGINT, ts TIMESTAMP) WITH ('connector'='filesystem', 'path'='%s', 'format'='parquet');
CREATE STREAMING QUERY load TRIGGER AVAILABLE NOW CHECKPOINT '%s' AS
INSERT INTO files SELECT auction, price, dateTime FROM gen`, events, dir, filepath.Join(dir, "_ck")))
	if err != nil {
		b.Fatal(err)
	}
	if err := s.AwaitAll(context.Background()); err != nil {
		b.Fatal(err)
	}
	return dir
}

const declare = `CREATE TABLE bids (auction BIGINT, price BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '4' SECOND)
WITH ('connector'='filesystem', 'path'='%s', 'format'='parquet');`

const query = `SELECT window_start, count(*) AS n FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '10' SECOND)
GROUP BY window_start, window_end`

// BenchmarkBatch counts per window over all files at once.
func BenchmarkBatch(b *testing.B) {
	ctx, s := context.Background(), session(b)
	if err := s.Exec(ctx, fmt.Sprintf(declare, input(b, s))); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for range b.N {
		df, err := s.SQL(ctx, "SELECT sum(n) FROM ("+query+")")
		if err != nil {
			b.Fatal(err)
		}
		rows, err := df.Collect(ctx)
		if err != nil {
			b.Fatal(err)
		}
		if rows[0][0] != int64(bids) {
			b.Fatalf("counted %v bids of %d", rows[0][0], bids)
		}
	}
	b.ReportMetric(float64(bids)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkStream counts per window as a streaming query that drains the files,
// with log, state, checkpoint and a sink.
func BenchmarkStream(b *testing.B) {
	ctx, s := context.Background(), session(b)
	if err := s.Exec(ctx, fmt.Sprintf(declare, input(b, s))+`
CREATE TABLE out (window_start TIMESTAMP, n BIGINT) WITH ('connector'='blackhole');`); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for i := range b.N {
		name := fmt.Sprintf("q%d", i)
		if err := s.Exec(ctx, fmt.Sprintf("CREATE STREAMING QUERY %s TRIGGER AVAILABLE NOW CHECKPOINT '%s' AS INSERT INTO out %s",
			name, filepath.Join(b.TempDir(), name), query)); err != nil {
			b.Fatal(err)
		}
		if err := s.AwaitAll(ctx); err != nil {
			b.Fatal(err)
		}
		if q, ok := s.Query(name); !ok || q.Totals().RowsIn != bids {
			b.Fatalf("read %d bids of %d", q.Totals().RowsIn, bids)
		}
	}
	b.ReportMetric(float64(bids)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
