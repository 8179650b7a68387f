package parquet

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
)

// plainOf is a value in the form of batch.ColumnStats; nil for types without one.
func plainOf(a arrow.Array, i int) any {
	switch a := a.(type) {
	case *array.Int8:
		return int64(a.Value(i))
	case *array.Int32:
		return int64(a.Value(i))
	case *array.Int64:
		return a.Value(i)
	case *array.Date32:
		return int64(a.Value(i))
	case *array.Timestamp:
		return int64(a.Value(i))
	case *array.Float32:
		return float64(a.Value(i))
	case *array.Float64:
		return a.Value(i)
	case *array.String:
		return a.Value(i)
	case *array.Decimal128:
		return a.Value(i)
	}
	return nil
}

func order(a, b any) (int, bool) {
	switch a := a.(type) {
	case int64:
		if b, ok := b.(int64); ok {
			return cmp.Compare(a, b), true
		}
	case float64:
		if b, ok := b.(float64); ok {
			return cmp.Compare(a, b), true
		}
	case string:
		if b, ok := b.(string); ok {
			return cmp.Compare(a, b), true
		}
	case decimal128.Num:
		if b, ok := b.(decimal128.Num); ok {
			return a.Cmp(b), true
		}
	}
	return 0, false
}

// equalTo is the condition that a column has a value, which prunes by all that a file says.
func equalTo(col int, text string, v any) *matching {
	return &matching{cols: []int{col}, total: true, point: []any{v}, ok: func(c []string) bool { return c[0] == text },
		skips: func(_ int64, of func(int) (batch.ColumnStats, bool)) bool {
			st, known := of(col)
			lo, ok1 := order(st.Min, v)
			hi, ok2 := order(st.Max, v)
			return known && (ok1 && lo > 0 || ok2 && hi < 0)
		}}
}

// flatOnly drops the nested columns of a schema.
func flatOnly(s *arrow.Schema) *arrow.Schema {
	var out []arrow.Field
	for _, f := range s.Fields() {
		if !arrow.IsNested(f.Type.ID()) {
			out = append(out, f)
		}
	}
	return arrow.NewSchema(out, nil)
}

// TestPointsAreFound asks for each value of each column of foreign files: bounds,
// page indexes and Bloom filters never hide one, and they do prune.
func TestPointsAreFound(t *testing.T) {
	var pruned batch.ScanCounts
	for name, b := range seeds(t) {
		fl, err := Open(memFile(name, b))
		if err != nil {
			t.Fatal(err)
		}
		schema := flatOnly(fl.Schema())
		recs, err := readAll(memFile(name, b), formats.ReadSpec{Schema: schema}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for c := range schema.NumFields() {
			count, value := map[string]int{}, map[string]any{}
			for _, rec := range recs {
				for i := range int(rec.NumRows()) {
					if a := rec.Column(c); a.IsValid(i) {
						count[cell(a, i)]++
						value[cell(a, i)] = plainOf(a, i)
					}
				}
			}
			for i, text := range slices.Sorted(maps.Keys(value)) {
				v := value[text]
				if v == nil || i%(len(value)/6+1) != 0 {
					continue
				}
				got, counts := siftColumns(t, b, schema, equalTo(c, text, v))
				if got != count[text] {
					t.Fatalf("%s: column %q has %d rows of %q, found %d (%+v)", name, schema.Field(c).Name, count[text], text, got, counts)
				}
				pruned.Add(counts)
			}
		}
		for _, rec := range recs {
			rec.Release()
		}
	}
	if pruned.GroupsPruned == 0 || pruned.PagesPruned == 0 || pruned.RowsSifted == 0 {
		t.Errorf("nothing was left out: %+v", pruned)
	}
}

func siftColumns(t *testing.T, b []byte, schema *arrow.Schema, m *matching) (rows int, counts batch.ScanCounts) {
	t.Helper()
	fl, err := Open(memFile("points", b))
	if err != nil {
		t.Fatal(err)
	}
	r, err := fl.NewReader(formats.Piece{To: int64(fl.r.NumRowGroups())}, formats.ReadSpec{Schema: schema})
	if err != nil {
		t.Fatal(err)
	}
	r.Where([]formats.Condition{m})
	for {
		rec, err := r.Next(t.Context())
		if err != nil {
			if err.Error() != "EOF" {
				t.Fatal(err)
			}
			return rows, r.Counts()
		}
		rows += int(rec.NumRows())
		rec.Release()
	}
}

// TestBloomFilters: values that DuckDB wrote are in its filters, and hardly any other.
func TestBloomFilters(t *testing.T) {
	absent, asked := 0, 0
	for name, b := range seeds(t) {
		if !strings.HasPrefix(name, "duck") {
			continue
		}
		fl, err := Open(memFile(name, b))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range fl.root {
			md, err := fl.r.MetaData().RowGroup(0).ColumnChunk(max(n.column, 0))
			if err != nil || n.shape != leafNode || md.BloomFilterOffset() == 0 {
				continue
			}
			c := &column{n: n, want: n.typ}
			recs, err := readAll(memFile(name, b), formats.ReadSpec{Schema: arrow.NewSchema([]arrow.Field{n.field()}, nil)}, nil)
			if err != nil {
				t.Fatal(err)
			}
			a := recs[0].Column(0)
			for i := range a.Len() {
				if v := plainOf(a, i); a.IsValid(i) && v != nil && c.bloomExcludes(fl, md, []any{v}) {
					t.Fatalf("%s: column %q: the filter denies %v", name, n.name, v)
				}
			}
			for i := range 200 {
				var v any = int64(1_000_003 + i*7919)
				if n.typ.ID() == arrow.STRING {
					v = strings.Repeat("?", i+1)
				}
				asked++
				if c.bloomExcludes(fl, md, []any{v}) {
					absent++
				}
			}
		}
	}
	if asked == 0 || absent*10 < asked {
		t.Errorf("%d of %d absent values were excluded", absent, asked)
	}
}
