package parquet

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/formats"
)

func benchFile(b *testing.B, nullable bool) formats.File {
	sc := arrow.NewSchema([]arrow.Field{
		{Name: "a", Type: arrow.PrimitiveTypes.Int64, Nullable: nullable}, {Name: "ts", Type: instant, Nullable: nullable},
		{Name: "s", Type: arrow.BinaryTypes.String, Nullable: nullable}}, nil)
	rb := array.NewRecordBuilder(memory.DefaultAllocator, sc)
	var out bytes.Buffer
	w, err := newWriter(&out, sc, formats.Config{}, memory.DefaultAllocator)
	if err != nil {
		b.Fatal(err)
	}
	x := uint64(1)
	for i := 0; i < 4_000_000; {
		for range 100_000 {
			x = x*6364136223846793005 + 1442695040888963407
			rb.Field(0).(*array.Int64Builder).Append(int64(x>>33) % 10000)
			rb.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(1700000000000000 + i*100 + int(x>>50)))
			rb.Field(2).(*array.StringBuilder).Append(fmt.Sprintf("key-%d", (x>>40)%1000))
			i++
		}
		if err := w.Write(rb.NewRecordBatch()); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return memFile("bench", out.Bytes())
}

func BenchmarkRead(b *testing.B) {
	for _, nullable := range []bool{false, true} {
		f := benchFile(b, nullable)
		for _, cols := range [][]int{{0, 1}, {2}, {0, 1, 2}} {
			b.Run(fmt.Sprintf("nullable=%v/columns=%v", nullable, cols), func(b *testing.B) {
				rows := int64(0)
				for b.Loop() {
					fl, err := Open(f)
					if err != nil {
						b.Fatal(err)
					}
					var fields []arrow.Field
					for _, c := range cols {
						fields = append(fields, fl.Schema().Field(c))
					}
					r, err := fl.NewReader(formats.Piece{To: int64(fl.r.NumRowGroups())}, formats.ReadSpec{Schema: arrow.NewSchema(fields, nil)})
					if err != nil {
						b.Fatal(err)
					}
					for {
						rec, err := r.Next(context.Background())
						if err == io.EOF {
							break
						}
						if err != nil {
							b.Fatal(err)
						}
						rows += rec.NumRows()
						rec.Release()
					}
				}
				b.ReportMetric(float64(rows)/b.Elapsed().Seconds()/1e6, "Mrows/s")
			})
		}
	}
}
