package rowkey

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

func TestKeysCompareAsTheirRows(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, dt := range allTypes {
		t.Run(dt.String(), func(t *testing.T) {
			alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
			defer alloc.AssertSize(t, 0)
			first, second := randomArray(r, alloc, dt, 61), randomArray(r, alloc, arrow.PrimitiveTypes.Int64, 61)
			defer first.Release()
			defer second.Release()
			cols, n := []arrow.Array{first, second}, first.Len()
			enc, err := NewEncoder([]arrow.DataType{dt, second.DataType()})
			must(t, err)
			var rows Rows
			must(t, enc.Encode(cols, n, &rows))
			hashes := make([]uint64, n)
			new(Hasher).Hash(cols, hashes)
			for i := range n {
				for j := range n {
					want := compare(first, first, i, j)
					if want == 0 {
						want = compare(second, second, i, j)
					}
					if got := bytes.Compare(rows.Row(i), rows.Row(j)); got != want {
						t.Fatalf("rows %s and %s: keys %x and %x compare %d, want %d",
							first.ValueStr(i), first.ValueStr(j), rows.Row(i), rows.Row(j), got, want)
					}
					if equal := hashes[i] == hashes[j]; equal != (want == 0) {
						t.Fatalf("rows %s and %s: hashes equal is %v", first.ValueStr(i), first.ValueStr(j), equal)
					}
				}
			}
			decoded := decodeAll(t, alloc, enc.Decode, []arrow.DataType{dt, second.DataType()}, &rows)
			defer release(decoded)
			for i := range n {
				if compare(first, decoded[0], i, i) != 0 || compare(second, decoded[1], i, i) != 0 {
					t.Fatalf("row %d: %s came back as %s", i, first.ValueStr(i), decoded[0].ValueStr(i))
				}
			}
		})
	}
}

func TestValuesComeBackExactly(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	cols := make([]arrow.Array, len(allTypes))
	for i, dt := range allTypes {
		cols[i] = randomArray(r, alloc, dt, 201)
	}
	defer release(cols)
	codec, err := NewValueCodec(allTypes)
	must(t, err)
	var rows Rows
	must(t, codec.Encode(cols, 200, &rows))
	back := decodeAll(t, alloc, codec.Decode, allTypes, &rows)
	defer release(back)
	var again Rows
	must(t, codec.Encode(back, 200, &again))
	if !bytes.Equal(rows.Data, again.Data) {
		t.Fatal("encoding the decoded rows gives other bytes")
	}
	for c := range cols {
		for i := range 200 {
			if compare(cols[c], back[c], i, i) != 0 {
				t.Fatalf("%s row %d: %s came back as %s", allTypes[c], i, cols[c].ValueStr(i), back[c].ValueStr(i))
			}
		}
	}
}

// Y2: the group of a key is the same however the key arrives.
func TestADictionaryHashesAsItsValues(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	dict := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}
	for _, rows := range []int{3, 400} { // fewer and more rows than entries
		db, sb := array.NewDictionaryBuilder(alloc, dict).(*array.BinaryDictionaryBuilder), array.NewStringBuilder(alloc)
		for i := range 20 {
			must(t, db.AppendString(fmt.Sprint(i)))
			sb.Append(fmt.Sprint(i))
		}
		for i := range rows {
			if i%7 == 6 {
				db.AppendNull()
				sb.AppendNull()
				continue
			}
			must(t, db.AppendString(fmt.Sprint(i%20)))
			sb.Append(fmt.Sprint(i % 20))
		}
		d, s := db.NewArray(), sb.NewArray()
		dTail, sTail := array.NewSlice(d, 20, int64(20+rows)), array.NewSlice(s, 20, int64(20+rows))
		x, y := make([]uint64, rows), make([]uint64, rows)
		new(Hasher).Hash([]arrow.Array{dTail}, x)
		new(Hasher).Hash([]arrow.Array{sTail}, y)
		for i := range x {
			if x[i] != y[i] {
				t.Fatalf("row %d of %d: hash %x as dictionary, %x as string", i, rows, x[i], y[i])
			}
		}
		release([]arrow.Array{d, s, dTail, sTail})
		db.Release()
		sb.Release()
	}
}

func TestDigestDoesNotDependOnOrder(t *testing.T) {
	alloc := memory.DefaultAllocator
	up, down, other := array.NewInt64Builder(alloc), array.NewInt64Builder(alloc), array.NewInt64Builder(alloc)
	for i := range int64(100) {
		up.Append(i)
		down.Append(99 - i)
		other.Append(i + i/99)
	}
	var h Hasher
	a := h.Digest([]arrow.Array{up.NewArray()}, 100)
	if b := h.Digest([]arrow.Array{down.NewArray()}, 100); a != b {
		t.Fatalf("digest %s, reversed %s", a, b)
	}
	if c := h.Digest([]arrow.Array{other.NewArray()}, 100); a == c {
		t.Fatal("one changed row left the digest as it was")
	}
}

// The groups of keys must stay as they are: state on disk is cut by them.
func TestGoldenHashesAndBytes(t *testing.T) {
	alloc := memory.DefaultAllocator
	ib, sb, fb := array.NewInt64Builder(alloc), array.NewStringBuilder(alloc), array.NewFloat64Builder(alloc)
	ib.AppendValues([]int64{1, -2, 0}, []bool{true, true, false})
	sb.AppendValues([]string{"JFK", "a\x00b", ""}, nil)
	fb.AppendValues([]float64{2.5, -1, 0}, nil)
	cols := []arrow.Array{ib.NewArray(), sb.NewArray(), fb.NewArray()}
	types := []arrow.DataType{cols[0].DataType(), cols[1].DataType(), cols[2].DataType()}
	enc, err := NewEncoder(types)
	must(t, err)
	codec, err := NewValueCodec(types)
	must(t, err)
	var keys, values Rows
	must(t, enc.Encode(cols, 3, &keys))
	must(t, codec.Encode(cols, 3, &values))
	hashes := make([]uint64, 3)
	new(Hasher).Hash(cols, hashes)
	want := []struct{ key, value, hash string }{
		{"018000000000000001014a464b000101c004000000000000", "010002034a464b0000000000000440", goldenHash[0]},
		{"017ffffffffffffffe016100ff620001" + "01400fffffffffffff", "01000303610062000000000000f0bf", goldenHash[1]},
		{"00010001018000000000000000", "0101000000000000000000", goldenHash[2]},
	}
	for i, w := range want {
		got := [3]string{hex.EncodeToString(keys.Row(i)), hex.EncodeToString(values.Row(i)), fmt.Sprintf("%016x", hashes[i])}
		if got != [3]string{w.key, w.value, w.hash} {
			t.Errorf("row %d:\n got %v\nwant %v", i, got, w)
		}
	}
	back := decodeAll(t, alloc, codec.Decode, types, &values)
	if s := back[1].ValueStr(1); s != "a\x00b" {
		t.Errorf("decoded %q", s)
	}
}

var goldenHash = [3]string{"ce8ac49998c6fa34", "106b418dcbf91f7e", "e4d25540e9f55a61"}

func decodeAll(t *testing.T, alloc memory.Allocator, decode func([]byte, []array.Builder) error, types []arrow.DataType, rows *Rows) []arrow.Array {
	t.Helper()
	bs := make([]array.Builder, len(types))
	for i, dt := range types {
		bs[i] = array.NewBuilder(alloc, dt)
		defer bs[i].Release()
	}
	for i := range rows.Len() {
		must(t, decode(rows.Row(i), bs))
	}
	out := make([]arrow.Array, len(bs))
	for i, b := range bs {
		out[i] = b.NewArray()
	}
	return out
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{1, 2, 3}, uint8(0))
	f.Add([]byte("\x01a\x00\x01"), uint8(12))
	f.Add([]byte{1, 0, 5, 1, 1}, uint8(23))
	f.Fuzz(func(t *testing.T, data []byte, which uint8) {
		dt := allTypes[int(which)%len(allTypes)]
		enc, err := NewEncoder([]arrow.DataType{dt})
		must(t, err)
		codec, err := NewValueCodec([]arrow.DataType{dt})
		must(t, err)
		for _, decode := range []func([]byte, []array.Builder) error{enc.Decode, codec.Decode} {
			b := array.NewBuilder(memory.DefaultAllocator, dt)
			err := decode(data, []array.Builder{b})
			if err != nil && !errors.Is(err, ErrDamaged) {
				t.Fatalf("error %v is not ErrDamaged", err)
			}
			b.Release()
		}
	})
}

func TestDamagedRowsAreRefused(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, dt := range allTypes[1:] {
		arr := randomArray(r, memory.DefaultAllocator, dt, 40)
		enc, _ := NewEncoder([]arrow.DataType{dt})
		codec, _ := NewValueCodec([]arrow.DataType{dt})
		var keys, values Rows
		must(t, enc.Encode([]arrow.Array{arr}, arr.Len(), &keys))
		must(t, codec.Encode([]arrow.Array{arr}, arr.Len(), &values))
		for i := range arr.Len() {
			for cut := range len(keys.Row(i)) {
				b := array.NewBuilder(memory.DefaultAllocator, dt)
				if err := enc.Decode(keys.Row(i)[:cut], []array.Builder{b}); !errors.Is(err, ErrDamaged) {
					t.Fatalf("%s: key %x cut at %d: %v", dt, keys.Row(i), cut, err)
				}
			}
			for cut := range len(values.Row(i)) {
				b := array.NewBuilder(memory.DefaultAllocator, dt)
				if err := codec.Decode(values.Row(i)[:cut], []array.Builder{b}); !errors.Is(err, ErrDamaged) {
					t.Fatalf("%s: value %x cut at %d: %v", dt, values.Row(i), cut, err)
				}
			}
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func release(arrs []arrow.Array) {
	for _, a := range arrs {
		a.Release()
	}
}
