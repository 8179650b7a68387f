package state

import (
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/physical"
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

// TestRowsStoredTogether: rows of a batch that lie under one key are rows of the table
// each, and are all there when they have been converted, equal ones too.
func TestRowsStoredTogether(t *testing.T) {
	form := func(dt arrow.DataType) physical.StateForm {
		return physical.StateForm{Operator: "join", Kind: physical.RowState, Detail: "closes by key -1" + physical.Appended, EndKey: -1,
			Keys: []arrow.Field{{Name: "k", Type: dt, Nullable: true}}, Values: [][]arrow.Field{{}, {{Name: "v", Type: dt, Nullable: true}}}}
	}
	old, now := form(arrow.PrimitiveTypes.Int32), form(arrow.PrimitiveTypes.Int64)
	key := append([]byte{7, 1, 0x80, 0, 0, 1, 1}, make([]byte, 16)...) // group 7, k = 1, input 1
	one := func(v byte) []byte { return []byte{1, 0, v, 0, 0, 0} }
	var stored []byte
	for _, v := range []byte{3, 4, 3} {
		stored = rowkey.AppendTogether(stored, uint64(v), one(v))
	}
	rows := map[string][]byte{string(key): stored}
	alone := append([]byte{}, key...)
	alone[len(alone)-1] = 9
	rows[string(alone)] = append([]byte{5}, one(3)...)

	// The rows of a form as the table has them, those under one key in their order.
	table := func(f physical.StateForm, rows map[string][]byte) (out []string) {
		d, err := NewDecoder(f, false, memory.DefaultAllocator)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Release()
		for k, v := range rows {
			if err := d.Add("", []byte(k), v); err != nil {
				t.Fatal(err)
			}
		}
		rec := d.Take()
		defer rec.Release()
		for i := range int(rec.NumRows()) {
			var cells []string
			for c := 1; c < int(rec.NumCols()); c++ { // without the key group
				cells = append(cells, rec.Column(c).ValueStr(i))
			}
			out = append(out, strings.Join(cells, " "))
		}
		slices.Sort(out)
		return out
	}
	want := []string{"1 1 3 3", "1 1 3 3", "1 1 4 4", "1 1 5 3"}
	if got := table(old, rows); !slices.Equal(got, want) {
		t.Errorf("the table has %q, want %q", got, want)
	}
	if Widened(old, now) == "" {
		t.Fatal("the types do not widen")
	}
	converted := map[string][]byte{}
	c, err := NewConverter(old, now, memory.DefaultAllocator, func(key, value []byte) error {
		converted[string(key)] = slices.Clone(value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Release()
	for k, v := range rows {
		if err := c.Add([]byte(k), v); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := table(now, converted); !slices.Equal(got, want) {
		t.Errorf("converted: %q, want %q", got, want)
	}
	single := old
	single.Detail = "closes by key -1"
	if d := Difference(single, old); d != "" {
		t.Errorf("rows that stand by themselves are not read: %s", d)
	}
	if Difference(old, single) == "" {
		t.Error("rows that are stored together are read by an operator that finds each by itself")
	}
}
