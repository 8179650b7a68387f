package vec

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"pgregory.net/rapid"

	"github.com/sluice-stream/sluice/planner/expr"
)

var types = []arrow.DataType{
	expr.TypeBool, expr.TypeInt8, expr.TypeInt16, expr.TypeInt32, expr.TypeInt64, expr.TypeFloat, expr.TypeDouble, expr.TypeString,
	expr.TypeBinary, expr.TypeDate, expr.TypeTimestamp, expr.TypeMonths, expr.TypeDuration, expr.Decimal(38, 6),
	arrow.ListOf(expr.TypeInt64), arrow.ListOf(arrow.ListOf(expr.TypeString)),
	arrow.StructOf(arrow.Field{Name: "a", Type: expr.TypeInt32, Nullable: true}, arrow.Field{Name: "b", Type: expr.TypeString, Nullable: true}),
	arrow.MapOf(expr.TypeString, expr.TypeInt64),
}

// fillRandom appends a random value to a builder.
func fillRandom(t *rapid.T, b array.Builder, key bool) {
	if !key && rapid.IntRange(0, 4).Draw(t, "null") == 0 {
		b.AppendNull()
		return
	}
	small := func() int64 { return int64(rapid.IntRange(-3, 3).Draw(t, "v")) }
	switch b := b.(type) {
	case *array.BooleanBuilder:
		b.Append(small() > 0)
	case *array.Float32Builder:
		b.Append([]float32{0, -1.5, float32(math.Inf(1)), float32(math.NaN()), 3}[(small()+3)%5])
	case *array.Float64Builder:
		b.Append([]float64{0, math.Copysign(0, -1), -1.5, math.NaN(), 3, math.Inf(-1), 1e300}[small()+3])
	case *array.StringBuilder:
		b.Append([]string{"", "a", "a\x00", "a\x00b", "ab", "\xff", "b"}[small()+3])
	case *array.BinaryBuilder:
		b.Append([]byte([]string{"", "\x00", "\x00\x00", "\x00\xff", "\x01", "a", "b"}[small()+3]))
	case *array.Decimal128Builder:
		b.Append(decimal128.New(small(), uint64(small())))
	case *array.ListBuilder:
		b.Append(true)
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			fillRandom(t, b.ValueBuilder(), false)
		}
	case *array.MapBuilder:
		b.Append(true)
		for range rapid.IntRange(0, 2).Draw(t, "n") {
			fillRandom(t, b.KeyBuilder(), true)
			fillRandom(t, b.ItemBuilder(), false)
		}
	case *array.StructBuilder:
		b.Append(true)
		for i := range b.NumField() {
			fillRandom(t, b.FieldBuilder(i), false)
		}
	default:
		if err := (&expr.Literal{Value: small() * 17, DT: b.Type()}).AppendTo(b); err != nil {
			t.Fatal(err)
		}
	}
}

func randomArray(t *rapid.T, alloc memory.Allocator, dt arrow.DataType) arrow.Array {
	b := array.NewBuilder(alloc, dt)
	defer b.Release()
	n := rapid.IntRange(1, 20).Draw(t, "rows")
	for range n {
		fillRandom(t, b, false)
	}
	whole := b.NewArray()
	defer whole.Release()
	return array.NewSlice(whole, int64(rapid.IntRange(0, n-1).Draw(t, "offset")), int64(n))
}

// TestCodec pins V4: a value survives, and bytes compare as values do.
func TestCodec(t *testing.T) {
	for _, dt := range types {
		rapid.Check(t, func(t *rapid.T) {
			arr := randomArray(t, memory.DefaultAllocator, dt)
			b := array.NewBuilder(memory.DefaultAllocator, dt)
			var all []byte
			keys := make([][]byte, arr.Len())
			for i := range keys {
				keys[i] = Encode(nil, arr, i)
				all = append(all, keys[i]...)
			}
			for range keys {
				var err error
				if all, err = Decoded(b, all); err != nil {
					t.Fatal(err)
				}
			}
			back := b.NewArray()
			for i := range keys {
				if len(all) != 0 || dt.ID() != arrow.MAP && Compare(arr, i, back, i) != 0 || !bytes.Equal(Encode(nil, back, i), keys[i]) {
					t.Fatalf("%s: %v came back as %v", dt, arr, back)
				}
				for j := range keys {
					if got, want := bytes.Compare(keys[i], keys[j]), Compare(arr, i, arr, j); dt.ID() != arrow.MAP && got != want {
						t.Fatalf("%s: rows %d and %d of %v compare as %d, encoded as %d", dt, i, j, arr, want, got)
					}
				}
			}
		})
	}
}

// TestTake pins gathering, NULL positions and slices for every type.
func TestTake(t *testing.T) {
	for _, dt := range types {
		rapid.Check(t, func(t *rapid.T) {
			alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
			arr := randomArray(t, alloc, dt)
			idx := rapid.SliceOfN(rapid.Int32Range(-1, int32(arr.Len()-1)), 0, 30).Draw(t, "idx")
			out, err := Take(alloc, arr, idx)
			if err != nil {
				t.Fatal(err)
			}
			for i, x := range idx {
				if x < 0 && !out.IsNull(i) || x >= 0 && !bytes.Equal(Encode(nil, out, i), Encode(nil, arr, int(x))) {
					t.Fatalf("%s: row %d of %v taken by %v is %v", dt, i, arr, idx, out)
				}
			}
			parts := []Part{{Arr: arr}, {Arr: arr, Const: true}}
			from, pos := make([]int32, arr.Len()), make([]int32, arr.Len())
			for i := range from {
				from[i], pos[i] = int32(i&1), int32(arr.Len()-1-i)
			}
			mix, err := Interleave(alloc, dt, parts, from, pos)
			if err != nil {
				t.Fatal(err)
			}
			for i := range from {
				src := int(pos[i])
				if from[i] == 1 {
					src = 0
				}
				if !bytes.Equal(Encode(nil, mix, i), Encode(nil, arr, src)) {
					t.Fatalf("%s: interleaved row %d is wrong: %v of %v", dt, i, mix, arr)
				}
			}
			mix.Release()
			out.Release()
			arr.Release()
			if alloc.CurrentAlloc() != 0 {
				t.Fatalf("%s: %d bytes leaked", dt, alloc.CurrentAlloc())
			}
		})
	}
}

// FuzzDecoded pins that damaged bytes are an error, never a panic.
func FuzzDecoded(f *testing.F) {
	f.Add([]byte{tagValue, 0, 0}, 0)
	f.Fuzz(func(t *testing.T, b []byte, k int) {
		dt := types[uint(k)%uint(len(types))]
		bd := array.NewBuilder(memory.DefaultAllocator, dt)
		defer bd.Release()
		rest, err := Decoded(bd, b)
		if err == nil && len(rest) > len(b) {
			t.Error(fmt.Sprint("more left than given: ", len(rest)))
		}
	})
}
