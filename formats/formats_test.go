package formats_test

import (
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/csv"
	"github.com/sluice-stream/sluice/formats/json"
	"github.com/sluice-stream/sluice/formats/parquet"
)

func TestRegistry(t *testing.T) {
	r := formats.NewRegistry(parquet.New(), csv.New(), json.New())
	for name, want := range map[string]string{
		"a/b.parquet": "parquet", "X.CSV": "csv", "x.csv.gz": "csv", "x.jsonl.zst": "json", "x.ndjson.snappy": "json", "x.gz": "", "x": "", "a.csv/x": "",
	} {
		f, ok := r.ByExtension(name)
		if f.Name != want || ok != (want != "") {
			t.Errorf("%s: %q %v", name, f.Name, ok)
		}
	}
	if _, err := r.Lookup("parqet"); err == nil || !strings.Contains(err.Error(), `did you mean "parquet"?`) {
		t.Error(err)
	}
	seen := map[string]bool{}
	for _, o := range r.Options() {
		if seen[o.Key] || o.Doc == "" {
			t.Errorf("option %q is declared twice or without a text", o.Key)
		}
		seen[o.Key] = true
	}
}

func TestMergeType(t *testing.T) {
	i32, i64, f64, str := arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Float64, arrow.BinaryTypes.String
	ts := &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	for _, c := range []struct{ a, b, want arrow.DataType }{
		{i32, i64, i64}, {f64, i32, f64}, {arrow.Null, str, str}, {i32, arrow.FixedWidthTypes.Boolean, str},
		{arrow.FixedWidthTypes.Date32, ts, ts}, {arrow.ListOf(i32), arrow.ListOf(f64), arrow.ListOf(f64)}, {arrow.ListOf(i32), i32, str},
	} {
		for _, got := range []arrow.DataType{formats.MergeType(c.a, c.b), formats.MergeType(c.b, c.a)} {
			if !arrow.TypeEqual(got, c.want) {
				t.Errorf("%s and %s: %s, want %s", c.a, c.b, got, c.want)
			}
		}
	}
}
