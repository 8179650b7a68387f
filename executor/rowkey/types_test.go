package rowkey

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

var allTypes = []arrow.DataType{
	arrow.Null, arrow.FixedWidthTypes.Boolean, arrow.PrimitiveTypes.Int8, arrow.PrimitiveTypes.Int16,
	arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Uint8, arrow.PrimitiveTypes.Uint16,
	arrow.PrimitiveTypes.Uint32, arrow.PrimitiveTypes.Uint64, arrow.PrimitiveTypes.Float32, arrow.PrimitiveTypes.Float64,
	arrow.BinaryTypes.String, arrow.BinaryTypes.Binary, arrow.BinaryTypes.LargeString, arrow.FixedWidthTypes.Date32,
	&arrow.TimestampType{Unit: arrow.Microsecond}, &arrow.DurationType{Unit: arrow.Microsecond},
	arrow.FixedWidthTypes.MonthInterval, arrow.FixedWidthTypes.Time64us,
	&arrow.Decimal128Type{Precision: 38, Scale: 2}, &arrow.FixedSizeBinaryType{ByteWidth: 3},
	&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String},
	arrow.ListOf(arrow.PrimitiveTypes.Int64), arrow.ListOf(arrow.ListOf(arrow.BinaryTypes.String)),
	arrow.StructOf(arrow.Field{Name: "a", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		arrow.Field{Name: "b", Type: arrow.ListOf(arrow.PrimitiveTypes.Float64), Nullable: true}),
	arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64),
}

// appendRandom appends one value from a small, edge-heavy domain.
func appendRandom(r *rand.Rand, b array.Builder, nullable bool) {
	if nullable && r.IntN(5) == 0 {
		b.AppendNull()
		return
	}
	ints := []int64{0, 1, -1, 2, 127, -128, 300, -300, math.MinInt32, math.MaxInt32, math.MinInt64, math.MaxInt64}
	v := ints[r.IntN(len(ints))]
	floats := []float64{0, math.Copysign(0, -1), 1.5, -1.5, math.Inf(1), math.Inf(-1), math.NaN(), math.SmallestNonzeroFloat64, -math.MaxFloat64}
	f := floats[r.IntN(len(floats))]
	texts := []string{"", "\x00", "a", "a\x00", "a\x00b", "ab", "b", "\xff", "\x00\xff", "\x01", "日本", "\x00\x01"}
	s := texts[r.IntN(len(texts))]
	switch b := b.(type) {
	case *array.NullBuilder:
		b.AppendNull()
	case *array.BooleanBuilder:
		b.Append(v > 0)
	case *array.Decimal128Builder:
		b.Append(decimal128.New(v>>1, uint64(ints[r.IntN(len(ints))])))
	case *array.Float32Builder:
		b.Append(float32(f))
	case *array.Float64Builder:
		b.Append(f)
	case *array.StringBuilder:
		b.Append(s)
	case *array.LargeStringBuilder:
		b.Append(s)
	case *array.BinaryBuilder:
		b.Append([]byte(s))
	case *array.FixedSizeBinaryBuilder:
		b.Append([]byte(s + "\x00\x00\x00")[:3])
	case *array.BinaryDictionaryBuilder:
		if err := b.AppendString(s); err != nil {
			panic(err)
		}
	case *array.ListBuilder:
		b.Append(true)
		for range r.IntN(3) {
			appendRandom(r, b.ValueBuilder(), true)
		}
	case *array.MapBuilder:
		b.Append(true)
		if r.IntN(2) == 0 { // keys in key order: decoding gives them back so
			for _, k := range []string{"", "k", "k\x00"} {
				b.KeyBuilder().(*array.StringBuilder).Append(k)
				appendRandom(r, b.ItemBuilder(), true)
			}
		}
	case *array.StructBuilder:
		b.Append(true)
		for i := range b.NumField() {
			appendRandom(r, b.FieldBuilder(i), true)
		}
	default:
		w := Width(b.Type())
		if err := appendRaw(b, uint64(v)&(math.MaxUint64>>(64-8*w)), w); err != nil {
			panic(err)
		}
	}
}

func randomArray(r *rand.Rand, alloc memory.Allocator, dt arrow.DataType, n int) arrow.Array {
	b := array.NewBuilder(alloc, dt)
	defer b.Release()
	for range n {
		appendRandom(r, b, true)
	}
	arr := b.NewArray()
	if n > 2 { // an offset, so that nobody forgets it
		defer arr.Release()
		return array.NewSlice(arr, 1, int64(n))
	}
	return arr
}

// compare is the oracle: the order of values, found through Go's own.
func compare(x, y arrow.Array, i, j int) int {
	xn, yn := nullAt(x, i), nullAt(y, j)
	switch {
	case xn && yn:
		return 0
	case xn:
		return -1
	case yn:
		return 1
	}
	switch a := x.(type) {
	case *array.Struct:
		for f := range a.NumField() {
			if c := compare(a.Field(f), y.(*array.Struct).Field(f), i, j); c != 0 {
				return c
			}
		}
		return 0
	case array.ListLike:
		s, e := a.ValueOffsets(i)
		o := y.(array.ListLike)
		t, u := o.ValueOffsets(j)
		for ; s < e && t < u; s, t = s+1, t+1 {
			if c := compare(a.ListValues(), o.ListValues(), int(s), int(t)); c != 0 {
				return c
			}
		}
		return cmp3(e-s, u-t)
	case *array.Dictionary:
		return compare(a.Dictionary(), y.(*array.Dictionary).Dictionary(), a.GetValueIndex(i), y.(*array.Dictionary).GetValueIndex(j))
	case *array.Float64:
		return cmpFloat(a.Value(i), y.(*array.Float64).Value(j))
	case *array.Float32:
		return cmpFloat(float64(a.Value(i)), float64(y.(*array.Float32).Value(j)))
	case *array.Decimal128:
		return a.Value(i).Cmp(y.(*array.Decimal128).Value(j))
	case *array.Boolean:
		return cmp3(b2i(a.Value(i)), b2i(y.(*array.Boolean).Value(j)))
	case *array.Uint64:
		return cmp3(a.Value(i), y.(*array.Uint64).Value(j))
	}
	if isBytes(x.DataType()) {
		a, b := newBytesCol(x), newBytesCol(y)
		return bytes.Compare(a.value(i), b.value(j))
	}
	return cmp3(intAt(x, i), intAt(y, j))
}

func intAt(arr arrow.Array, i int) int64 {
	switch a := arr.(type) {
	case *array.Int8:
		return int64(a.Value(i))
	case *array.Int16:
		return int64(a.Value(i))
	case *array.Int32:
		return int64(a.Value(i))
	case *array.Int64:
		return a.Value(i)
	case *array.Uint8:
		return int64(a.Value(i))
	case *array.Uint16:
		return int64(a.Value(i))
	case *array.Uint32:
		return int64(a.Value(i))
	case *array.Date32:
		return int64(a.Value(i))
	case *array.Timestamp:
		return int64(a.Value(i))
	case *array.Duration:
		return int64(a.Value(i))
	case *array.MonthInterval:
		return int64(a.Value(i))
	case *array.Time64:
		return int64(a.Value(i))
	}
	panic(fmt.Sprintf("no oracle for %s", arr.DataType()))
}

func cmpFloat(a, b float64) int {
	switch {
	case math.IsNaN(a) && math.IsNaN(b):
		return 0
	case math.IsNaN(a):
		return 1
	case math.IsNaN(b):
		return -1
	}
	return cmp3(a, b)
}

func cmp3[T int | int32 | int64 | uint64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
