package csv

import (
	"bytes"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/options"
)

// Numbers and times are looked at only where the options make their characters
// special; then they come back as they were all the same.
func TestNumbersAreQuotedWhereTheyMustBe(t *testing.T) {
	schema := fields("n long", "d date", "s ts", "f double", "t")
	rb := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for _, v := range []int64{0, -7, 1436918400123456} {
		rb.Field(0).(*array.Int64Builder).Append(v)
		rb.Field(1).(*array.Date32Builder).Append(arrow.Date32(v % 100000))
		rb.Field(2).(*array.TimestampBuilder).Append(arrow.Timestamp(v))
		rb.Field(3).(*array.Float64Builder).Append(float64(v) / 8)
		rb.Field(4).(*array.StringBuilder).Append("text")
	}
	for i := range 5 {
		rb.Field(i).AppendNull()
	}
	rec := rb.NewRecordBatch()
	var plain string
	for _, o := range []options.Map{
		nil, {"csv.null-value": "NULL"}, {"csv.delimiter": "-"}, {"csv.delimiter": ":"}, {"csv.delimiter": "T"}, {"csv.delimiter": "0"},
		{"csv.null-value": "0"}, {"csv.null-value": "-7"}, {"csv.comment": "-"}, {"csv.comment": "1"}, {"csv.quote": "1", "csv.escape": "1"}, {"csv.delimiter": "|"},
	} {
		var out bytes.Buffer
		w, err := newWriter(&out, schema, formats.Config{Options: o}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(rec); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := read(memFile("x", out.Bytes()), schema, o)
		if plain == "" {
			plain = got
		}
		if err != nil || got != plain {
			t.Errorf("%v: %q reads as\n%s%v, want\n%s", o, out.String(), got, err, plain)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	schema := fields("n long", "s ts", "t")
	rb := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for i := range int64(4096) {
		rb.Field(0).(*array.Int64Builder).Append(i * 7919)
		rb.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(1436918400000000 + i*10000))
		rb.Field(2).(*array.StringBuilder).Append("abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmn")
	}
	rec := rb.NewRecordBatch()
	for b.Loop() {
		w, err := newWriter(discard{}, schema, formats.Config{}, nil)
		if err != nil {
			b.Fatal(err)
		}
		if err := w.Write(rec); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/4096, "ns/row")
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
