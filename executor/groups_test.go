package executor

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/executor/gather"
)

// appendDomain appends one of domain values, or NULL.
func appendDomain(r *rand.Rand, b array.Builder, domain int, nulls bool) {
	if nulls && r.IntN(6) == 0 {
		b.AppendNull()
		return
	}
	v := r.IntN(domain)
	switch b := b.(type) {
	case *array.NullBuilder:
		b.AppendNull()
	case *array.Int64Builder:
		b.Append(int64(v) - int64(domain/2))
	case *array.Int32Builder:
		b.Append(int32(v))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(v) * 1e6)
	case *array.Float64Builder:
		b.Append(float64(v) / 4)
	case *array.BooleanBuilder:
		b.Append(v%2 == 0)
	case *array.StringBuilder:
		b.Append(strings.Repeat("x", v%3*7) + fmt.Sprint(v))
	case *array.LargeStringBuilder:
		b.Append(strings.Repeat("é\x00", v%5*3))
	case *array.BinaryBuilder:
		b.Append(bytes.Repeat([]byte{byte(v % 3)}, v%29))
	case *array.Decimal128Builder:
		b.Append(decimal128.New(int64(v%3-1), uint64(v)))
	case *array.BinaryDictionaryBuilder:
		if err := b.AppendString(fmt.Sprint(v)); err != nil {
			panic(err)
		}
	case *array.ListBuilder:
		b.Append(true)
		for i := range v % 3 {
			b.ValueBuilder().(*array.Int64Builder).Append(int64(v / (i + 1)))
		}
	default:
		panic(b.Type().String())
	}
}

var (
	tInt     = arrow.PrimitiveTypes.Int64
	tInt32   = arrow.PrimitiveTypes.Int32
	tFloat   = arrow.PrimitiveTypes.Float64
	tString  = arrow.BinaryTypes.String
	tBool    = arrow.FixedWidthTypes.Boolean
	tTime    = &arrow.TimestampType{Unit: arrow.Microsecond}
	tDecimal = &arrow.Decimal128Type{Precision: 38, Scale: 2}
	tDict    = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}
)

func randomColumns(r *rand.Rand, alloc memory.Allocator, types []arrow.DataType, n, domain int, nulls bool) []arrow.Array {
	cols := make([]arrow.Array, len(types))
	for c, dt := range types {
		b := array.NewBuilder(alloc, dt)
		for range n {
			appendDomain(r, b, domain, nulls)
		}
		cols[c] = b.NewArray()
		b.Release()
	}
	return cols
}

func rowText(cols []arrow.Array, i int) string {
	var b strings.Builder
	for _, c := range cols {
		fmt.Fprintf(&b, "%q|", c.ValueStr(i))
	}
	return b.String()
}

func TestGroupsAreNumberedByFirstAppearance(t *testing.T) {
	for i, types := range [][]arrow.DataType{
		{}, {tInt}, {tInt32}, {tString}, {tDict}, {tFloat}, {tTime, tInt}, {tInt, tString}, {tBool, tInt32, tTime},
		{tString, tDict, tInt}, {arrow.ListOf(tInt)}, {arrow.ListOf(tInt), tInt}, {arrow.Null, tInt},
		{tDecimal}, {tDecimal, tInt}, {tDecimal, tString}, {arrow.BinaryTypes.LargeString}, {arrow.BinaryTypes.Binary},
		{tString, tString}, {tInt, tInt32, tDecimal, tDict, tBool}, {arrow.BinaryTypes.Binary, tFloat},
	} {
		for j, domain := range []int{3, 5000} {
			if testing.Short() && (i+j)%2 > 0 {
				continue
			}
			t.Run(fmt.Sprint(types, domain), func(t *testing.T) {
				alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
				defer alloc.AssertSize(t, 0)
				r := rand.New(rand.NewPCG(7, uint64(domain)))
				g, err := newGroupTable(types)
				if err != nil {
					t.Fatal(err)
				}
				for round := range 2 {
					g.Reset()
					checkGroups(t, r, alloc, g, types, domain, round)
				}
			})
		}
	}
}

func checkGroups(t *testing.T, r *rand.Rand, alloc memory.Allocator, g *groupTable, types []arrow.DataType, domain, round int) {
	want := map[string]uint32{}
	var order []string
	for b := range 6 {
		n := []int{1, 700, 0, 257, 3000, 64}[b]
		// NULLs come late, so that the keys have to be widened.
		cols := randomColumns(r, alloc, types, n, domain, b >= 3 || round == 1)
		out := make([]uint32, n)
		g.Find(cols, n, out)
		for i := range n {
			id, ok := want[rowText(cols, i)]
			if !ok {
				id = noGroup
			}
			if out[i] != id {
				t.Fatalf("find %s: group %d, want %d", rowText(cols, i), out[i], id)
			}
		}
		g.Map(cols, n, out)
		for i := range n {
			key := rowText(cols, i)
			id, ok := want[key]
			if !ok {
				id = uint32(len(want))
				want[key] = id
				order = append(order, key)
			}
			if out[i] != id {
				t.Fatalf("batch %d row %d %s: group %d, want %d", b, i, key, out[i], id)
			}
		}
		gather.Release(cols)
	}
	if g.Len() != len(want) {
		t.Fatalf("%d groups, want %d", g.Len(), len(want))
	}
	from := g.Len() / 3
	keys, err := g.Keys(alloc, from, g.Len())
	if err != nil {
		t.Fatal(err)
	}
	defer gather.Release(keys)
	for i, key := range order[from:] {
		if got := rowText(keys, i); got != key {
			t.Fatalf("group %d has key %s, want %s", from+i, got, key)
		}
	}
}

// Batches of one stream may come with dictionaries of their own.
func TestConcatOfDifferentDictionaries(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(1, 1))
	var chunks [][]arrow.Array
	var want []string
	for i := range 4 {
		cols := randomColumns(r, alloc, []arrow.DataType{tDict}, 30, 3+40*i, true)
		defer gather.Release(cols)
		chunks = append(chunks, cols)
		for k := range 30 {
			want = append(want, rowText(cols, k))
		}
	}
	all, err := concat(alloc, chunks)
	if err != nil {
		t.Fatal(err)
	}
	defer gather.Release(all)
	for i, w := range want {
		if got := rowText(all, i); got != w {
			t.Fatalf("row %d is %s, want %s", i, got, w)
		}
	}
}

func TestADictionaryOfNumbersGroupsAsTheNumbers(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	b := array.NewDictionaryBuilder(alloc, &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: tInt}).(*array.Int64DictionaryBuilder)
	defer b.Release()
	for _, v := range []int64{7, -3, 7, 9, -3} {
		if err := b.Append(v); err != nil {
			t.Fatal(err)
		}
	}
	b.AppendNull()
	arr := b.NewArray()
	defer arr.Release()
	g, err := newGroupTable([]arrow.DataType{tInt})
	if err != nil {
		t.Fatal(err)
	}
	out := make([]uint32, 6)
	g.Map([]arrow.Array{arr}, 6, out)
	if got := fmt.Sprint(out); got != "[0 1 0 2 1 3]" {
		t.Errorf("groups %s", got)
	}
}

func BenchmarkGroups(b *testing.B) {
	const n = 8192
	r := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		name   string
		types  []arrow.DataType
		domain int
	}{
		{"int/100", []arrow.DataType{tInt}, 100}, {"int/1M", []arrow.DataType{tInt}, 1 << 20},
		{"time+int/100", []arrow.DataType{tTime, tInt}, 10}, {"string/100", []arrow.DataType{tString}, 100},
		{"dict/100", []arrow.DataType{tDict}, 100}, {"time+string/100", []arrow.DataType{tTime, tString}, 10},
	} {
		b.Run(c.name, func(b *testing.B) {
			var recs [][]arrow.Array
			for range 256 {
				recs = append(recs, randomColumns(r, memory.DefaultAllocator, c.types, n, c.domain, false))
			}
			g, _ := newGroupTable(c.types)
			out := make([]uint32, n)
			for _, cols := range recs {
				g.Map(cols, n, out)
			}
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				g.Map(recs[i%len(recs)], n, out)
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
		})
	}
}
