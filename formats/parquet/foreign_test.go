package parquet

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	pgo "github.com/parquet-go/parquet-go"

	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/options"
)

var foreignFields = []arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "ts", Type: instant, Nullable: true}}

// TestParquetGoAgrees reads with another library what our writer wrote: values, NULLs and statistics.
func TestParquetGoAgrees(t *testing.T) {
	schema := arrow.NewSchema(foreignFields, nil)
	for _, codec := range compression.Values {
		in := randomBatch(rand.New(rand.NewPCG(1, 7)), schema, 400)
		b := write(t, []arrow.RecordBatch{in}, options.Map{"parquet.compression": codec, "parquet.row-group-rows": "150"})
		f, err := pgo.OpenFile(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(f.RowGroups()); n != 3 {
			t.Errorf("%d row groups", n)
		}
		type flat struct {
			ID   int64   `parquet:"id"`
			Name *string `parquet:"name,optional"`
			TS   *int64  `parquet:"ts,optional,timestamp(microsecond)"`
		}
		rows, err := pgo.Read[flat](bytes.NewReader(b), int64(len(b)))
		if err != nil || len(rows) != 400 {
			t.Fatalf("%s: %d rows, %v", codec, len(rows), err)
		}
		for i, r := range rows {
			if fmt.Sprint(r.ID) != in.Column(0).ValueStr(i) {
				t.Fatalf("id of row %d: %d", i, r.ID)
			}
			if s := in.Column(1).(*array.String); (r.Name == nil) != s.IsNull(i) || r.Name != nil && *r.Name != s.Value(i) {
				t.Fatalf("name of row %d", i)
			}
			if s := in.Column(2).(*array.Timestamp); (r.TS == nil) != s.IsNull(i) || r.TS != nil && *r.TS != int64(s.Value(i)) {
				t.Fatalf("ts of row %d", i)
			}
		}
	}
}

// TestReadsParquetGo reads what another library wrote, lists among it.
func TestReadsParquetGo(t *testing.T) {
	type row struct {
		ID   int64   `parquet:"id"`
		Name *string `parquet:"name,optional"`
		TS   *int64  `parquet:"ts,optional,timestamp(microsecond)"`
		L    []int32 `parquet:"l,list,optional"`
	}
	schema := arrow.NewSchema(append(foreignFields, arrow.Field{Name: "l", Type: arrow.ListOfNonNullable(arrow.PrimitiveTypes.Int32), Nullable: true}), nil)
	var out bytes.Buffer
	w := pgo.NewGenericWriter[row](&out)
	want := ""
	for i := range 300 {
		r := row{ID: int64(i)}
		cells := fmt.Sprintf("%d|", i)
		if i%3 == 0 {
			cells += "(null)|(null)|"
		} else {
			name, ts := fmt.Sprint("n", i), int64(i)*1_000_000
			r.Name, r.TS = &name, &ts
			cells += fmt.Sprintf("%s|1970-01-01T00:%02d:%02dZ|", name, i/60, i%60)
		}
		for j := range i % 4 {
			r.L = append(r.L, int32(j))
		}
		want += cells + []string{"(null)", "[0]", "[0,1]", "[0,1,2]"}[i%4] + "|\n"
		if _, err := w.Write([]row{r}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	recs, err := readAll(memFile("pgo", out.Bytes()), formats.ReadSpec{Schema: schema}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := text(recs); got != want {
		t.Errorf("got\n%.600s\nwant\n%.600s", got, want)
	}
}
