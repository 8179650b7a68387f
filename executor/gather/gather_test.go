package gather

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

func appendRandom(r *rand.Rand, b array.Builder) {
	if r.IntN(4) == 0 {
		b.AppendNull()
		return
	}
	text := "row of text"[:r.IntN(11)]
	switch b := b.(type) {
	case *array.BooleanBuilder:
		b.Append(r.IntN(2) == 0)
	case *array.Int8Builder:
		b.Append(int8(r.Int()))
	case *array.Int16Builder:
		b.Append(int16(r.Int()))
	case *array.Int32Builder:
		b.Append(int32(r.Int()))
	case *array.Int64Builder:
		b.Append(r.Int64())
	case *array.Float64Builder:
		b.Append(r.Float64())
	case *array.Decimal128Builder:
		b.Append(decimal128.FromI64(r.Int64()))
	case *array.StringBuilder:
		b.Append(text)
	case *array.LargeStringBuilder:
		b.Append(text)
	case *array.BinaryBuilder:
		b.Append([]byte(text))
	case *array.BinaryDictionaryBuilder:
		if err := b.AppendString(text); err != nil {
			panic(err)
		}
	case *array.ListBuilder:
		b.Append(true)
		for range r.IntN(3) {
			appendRandom(r, b.ValueBuilder())
		}
	case *array.MapBuilder:
		b.Append(true)
		b.KeyBuilder().(*array.StringBuilder).Append(text)
		appendRandom(r, b.ItemBuilder())
	case *array.StructBuilder:
		b.Append(true)
		for i := range b.NumField() {
			appendRandom(r, b.FieldBuilder(i))
		}
	default:
		b.AppendNull()
	}
}

// takenTypes are types of which rows are taken.
var takenTypes = []arrow.DataType{
	arrow.Null, arrow.FixedWidthTypes.Boolean, arrow.PrimitiveTypes.Int8, arrow.PrimitiveTypes.Int16, arrow.PrimitiveTypes.Int32,
	arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Float64, &arrow.Decimal128Type{Precision: 20, Scale: 2}, arrow.BinaryTypes.String,
	arrow.BinaryTypes.LargeString, arrow.BinaryTypes.Binary, arrow.ListOf(arrow.ListOf(arrow.PrimitiveTypes.Int64)),
	arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64),
	&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String},
	arrow.StructOf(arrow.Field{Name: "a", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, arrow.Field{Name: "b", Type: arrow.BinaryTypes.String, Nullable: true}),
}

func TestTakeGivesTheRowsAskedFor(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, dt := range takenTypes {
		t.Run(dt.String(), func(t *testing.T) {
			alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
			defer alloc.AssertSize(t, 0)
			b := array.NewBuilder(alloc, dt)
			defer b.Release()
			for range 50 {
				appendRandom(r, b)
			}
			whole := b.NewArray()
			defer whole.Release()
			arr := array.NewSlice(whole, 5, 45)
			defer arr.Release()
			idx := make([]int32, 200)
			for i := range idx {
				idx[i] = int32(r.IntN(41)) - 1
			}
			for _, idx := range [][]int32{idx, nil, {3}, {-1}} {
				got, err := Take(alloc, arr, idx)
				if err != nil {
					t.Fatal(err)
				}
				for i, at := range idx {
					switch {
					case at < 0 && !got.IsNull(i) && dt.ID() != arrow.NULL:
						t.Fatalf("row %d is %s, want NULL", i, got.ValueStr(i))
					case at >= 0 && !array.SliceEqual(got, int64(i), int64(i+1), arr, int64(at), int64(at+1)):
						t.Fatalf("row %d is %s, want %s", i, got.ValueStr(i), arr.ValueStr(int(at)))
					}
				}
				got.Release()
			}
		})
	}
}

func TestMergeGivesTheRowsOfAllBatches(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 1))
	for _, dt := range takenTypes {
		for _, sizes := range [][]int{{40, 1, 0, 25}, {7}, {0, 0}} {
			alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
			schema := arrow.NewSchema([]arrow.Field{{Name: "a", Type: dt, Nullable: true}}, nil)
			var recs []arrow.RecordBatch
			var at []At
			for b, n := range sizes {
				recs = append(recs, someRows(r, alloc, schema, n))
				for row := range n {
					at = append(at, AtRow(b, row))
				}
			}
			r.Shuffle(len(at), func(i, j int) { at[i], at[j] = at[j], at[i] })
			got, err := Merge(alloc, recs, at)
			if err != nil {
				t.Fatal(err)
			}
			if got.NumRows() != int64(len(at)) {
				t.Fatalf("%s: %d rows of %d", dt, got.NumRows(), len(at))
			}
			for i, p := range at {
				was, row := recs[p.batch()].Column(0), p.row()
				equal := array.SliceEqual(got.Column(0), int64(i), int64(i+1), was, int64(row), int64(row+1))
				if dt.ID() == arrow.DICTIONARY { // which is another one now
					equal = got.Column(0).IsNull(i) == was.IsNull(row) && got.Column(0).ValueStr(i) == was.ValueStr(row)
				}
				if !equal {
					t.Fatalf("%s: row %d is %s, want %s", dt, i, got.Column(0).ValueStr(i), was.ValueStr(row))
				}
			}
			got.Release()
			for _, rec := range recs {
				rec.Release()
			}
			alloc.AssertSize(t, 0)
		}
	}
}

// someRows is a slice of a longer batch, with short, middle and long texts.
func someRows(r *rand.Rand, alloc memory.Allocator, schema *arrow.Schema, n int) arrow.RecordBatch {
	b := array.NewRecordBuilder(alloc, schema)
	defer b.Release()
	for range n + 9 {
		if s, ok := b.Field(0).(*array.StringBuilder); ok && r.IntN(2) == 0 {
			s.Append(strings.Repeat("text", r.IntN(40)))
			continue
		}
		appendRandom(r, b.Field(0))
	}
	whole := b.NewRecordBatch()
	defer whole.Release()
	return whole.NewSlice(4, int64(4+n))
}
