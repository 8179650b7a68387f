package latency

import (
	"context"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice"
)

// BenchmarkTenRows adds ten rows, waits until the batch with them is committed
// and its output revealed, and adds the next ten. b.N is the number of batches:
// run with -benchtime 100000x for the goal. It reports percentiles of the first
// and of the last tenth, so that growth shows.
func BenchmarkTenRows(b *testing.B) {
	run(b, 10)
}

func run(b *testing.B, rows int) {
	ctx := context.Background()
	dir := b.TempDir()
	s, err := sluice.NewSession(sluice.Options{CheckpointDir: dir, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	schema := arrow.NewSchema([]arrow.Field{{Name: "k", Type: arrow.PrimitiveTypes.Int64}, {Name: "v", Type: arrow.PrimitiveTypes.Int64}}, nil)
	in, err := s.CreateStream("events", schema, sluice.DropRead())
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Exec(ctx, `CREATE TABLE out (k BIGINT, n BIGINT, s BIGINT) WITH ('connector'='blackhole');
CREATE STREAMING QUERY q TRIGGER IMMEDIATE OUTPUT MODE update CHECKPOINT 'q' AS
INSERT INTO out SELECT k, count(*), sum(v) FROM events GROUP BY k`); err != nil {
		b.Fatal(err)
	}
	q, _ := s.Query("q")
	rec := batchOf(schema, rows)
	defer rec.Release()
	took := make([]time.Duration, 0, b.N)
	var before, after runtime.MemStats
	b.ResetTimer()
	for i := range b.N {
		if i == b.N/10 {
			runtime.GC()
			runtime.ReadMemStats(&before)
		}
		start := time.Now()
		if err := in.Add(rec); err != nil {
			b.Fatal(err)
		}
		if err := q.ProcessAllAvailable(ctx); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	b.StopTimer()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if got := q.Totals().RowsIn; got != int64(b.N*rows) {
		b.Fatalf("the query read %d rows of %d", got, b.N*rows)
	}
	tenth := max(1, len(took)/10)
	report(b, "first", took[:tenth])
	report(b, "last", took[len(took)-tenth:])
	report(b, "", took)
	b.ReportMetric(float64(int64(after.HeapInuse)-int64(before.HeapInuse))/float64(b.N), "heap-bytes/batch")
	bytes, files := size(b, filepath.Join(dir, "q"))
	b.ReportMetric(float64(bytes), "checkpoint-bytes")
	b.ReportMetric(float64(files), "checkpoint-files")
}

func batchOf(schema *arrow.Schema, rows int) arrow.RecordBatch {
	rb := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer rb.Release()
	for i := range rows {
		rb.Field(0).(*array.Int64Builder).Append(int64(i))
		rb.Field(1).(*array.Int64Builder).Append(int64(i * i))
	}
	return rb.NewRecordBatch()
}

func report(b *testing.B, which string, took []time.Duration) {
	sorted := slices.Clone(took)
	slices.Sort(sorted)
	at := func(p float64) float64 {
		return float64(sorted[min(len(sorted)-1, int(p*float64(len(sorted))))].Microseconds()) / 1000
	}
	if which != "" {
		which += "-"
	}
	b.ReportMetric(at(0.5), which+"p50-ms")
	b.ReportMetric(at(0.99), which+"p99-ms")
}

func size(b *testing.B, dir string) (bytes int64, files int) {
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			bytes += info.Size()
			files++
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return bytes, files
}
