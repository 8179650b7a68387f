package state

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// TestWidensKeepsValues: wherever a type is said to widen, extreme values come out as
// they were.
func TestWidensKeepsValues(t *testing.T) {
	ints := []arrow.DataType{arrow.PrimitiveTypes.Int8, arrow.PrimitiveTypes.Int16, arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Float64}
	for i, from := range ints[:4] {
		for j, to := range ints {
			if want := i < j && !(i == 3 && j == 4); Widens(from, to) != want {
				t.Errorf("%s to %s: %t", from, to, !want)
			} else if !want {
				continue
			}
			b := array.NewBuilder(memory.DefaultAllocator, from)
			for _, v := range []string{"-128", "127", "0"} {
				if err := b.AppendValueFromString(v); err != nil {
					t.Fatal(err)
				}
			}
			b.AppendNull()
			in := b.NewArray()
			out, err := widen(in, to)
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range []string{"-128", "127", "0"} {
				if got := out.ValueStr(k); got != v {
					t.Errorf("%s to %s: %s, want %s", from, to, got, v)
				}
			}
			if !out.IsNull(3) {
				t.Errorf("%s to %s: NULL is %s", from, to, out.ValueStr(3))
			}
			in.Release()
			out.Release()
			b.Release()
		}
	}
	d := array.NewDecimal128Builder(memory.DefaultAllocator, &arrow.Decimal128Type{Precision: 8, Scale: 2})
	defer d.Release()
	d.Append(decimal128.FromI64(-12345))
	in := d.NewArray()
	defer in.Release()
	out, err := widen(in, &arrow.Decimal128Type{Precision: 14, Scale: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Release()
	if got := out.(*array.Decimal128).Value(0); got != decimal128.FromI64(-1234500) {
		t.Errorf("decimal: %v", got)
	}
	for _, to := range []arrow.DataType{&arrow.Decimal128Type{Precision: 9, Scale: 4}, &arrow.Decimal128Type{Precision: 8, Scale: 1}, arrow.BinaryTypes.String} {
		if _, err := widen(in, to); err == nil {
			t.Errorf("%s takes any DECIMAL(8,2)", to)
		}
	}
	times := array.NewTimestampBuilder(memory.DefaultAllocator, &arrow.TimestampType{Unit: arrow.Second})
	defer times.Release()
	times.Append(1700000000)
	times.Append(1 << 60)
	ts := times.NewArray()
	defer ts.Release()
	if _, err := widen(ts, &arrow.TimestampType{Unit: arrow.Microsecond}); err == nil {
		t.Error("a time past the end of the type is converted")
	}
	first := array.NewSlice(ts, 0, 1)
	defer first.Release()
	us, err := widen(first, &arrow.TimestampType{Unit: arrow.Microsecond})
	if err != nil {
		t.Fatal(err)
	}
	defer us.Release()
	if got := us.(*array.Timestamp).Value(0); got != 1700000000_000000 {
		t.Errorf("timestamp: %d", got)
	}
}
