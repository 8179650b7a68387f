package file

import (
	"context"
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/sinks"
)

// BenchmarkCommit writes and commits batches of ten rows on the machine's disk.
func BenchmarkCommit(b *testing.B) {
	sp := spec(sinks.Append, false, nil)
	sp.Options["path"] = b.TempDir()
	sp.Options["format"] = "parquet"
	f := open(b, vfsx.Default, sp, 1)
	id := batch.ID(0)
	for b.Loop() {
		parts, err := f.prepare(id, 0, 0, 10, 1)
		if err != nil {
			b.Fatal(err)
		}
		if err := f.commit(id, parts); err != nil {
			b.Fatal(err)
		}
		id++
	}
}

// BenchmarkWrite writes rows of four columns in large batches.
func BenchmarkWrite(b *testing.B) {
	sc := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int64}, {Name: "s", Type: arrow.BinaryTypes.String},
		{Name: "d", Type: arrow.PrimitiveTypes.Float64}, {Name: "p", Type: arrow.BinaryTypes.String}}, nil)
	rb := array.NewRecordBuilder(memory.DefaultAllocator, sc)
	for i := range 32768 {
		rb.Field(0).(*array.Int64Builder).Append(int64(i * 7))
		rb.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("user-%d", i%5000))
		rb.Field(2).(*array.Float64Builder).Append(float64(i) / 3)
		rb.Field(3).(*array.StringBuilder).Append(fmt.Sprintf("p%d", i%10))
	}
	rec := rb.NewRecordBatch()
	for _, format := range []string{"parquet", "csv", "json"} {
		for _, part := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/partitioned=%v", format, part), func(b *testing.B) {
				sp := spec(sinks.Append, false, nil)
				sp.Schema = sc
				sp.Options["path"], sp.Options["format"] = b.TempDir(), format
				if part {
					sp.PartitionBy = []string{"p"}
				}
				f := open(b, vfsx.Default, sp, 1)
				w, err := f.wf.NewWriter(context.Background(), sinks.Attempt{}, sc, memory.DefaultAllocator)
				if err != nil {
					b.Fatal(err)
				}
				for b.Loop() {
					if err := w.Write(context.Background(), rec); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := w.Prepare(context.Background()); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(b.N)*32768/b.Elapsed().Seconds()/1e6, "Mrows/s")
			})
		}
	}
}
