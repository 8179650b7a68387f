package transporttest

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Wide returns rows of one integer column, of eight bytes each.
func Wide(alloc memory.Allocator, rows int) arrow.RecordBatch {
	b := array.NewInt64Builder(alloc)
	defer b.Release()
	values := make([]int64, rows)
	for i := range values {
		values[i] = int64(i)
	}
	b.AppendValues(values, nil)
	return of(b.NewArray())
}

// of makes a batch of columns, which it takes over.
func of(cols ...arrow.Array) arrow.RecordBatch {
	fields := make([]arrow.Field, len(cols))
	for i, c := range cols {
		fields[i] = arrow.Field{Name: fmt.Sprint("c", i), Type: c.DataType(), Nullable: true}
	}
	rec := array.NewRecordBatch(arrow.NewSchema(fields, nil), cols, int64(cols[0].Len()))
	for _, c := range cols {
		c.Release()
	}
	return rec
}

// Batches returns batches that have made trouble somewhere: nested, sliced, without rows,
// without columns' values, with dictionaries that change, of several schemas and large.
func Batches(alloc memory.Allocator) []arrow.RecordBatch {
	large := Wide(alloc, 600_000) // 4.6 MiB: it goes in pieces
	return append(Small(alloc), large, large.NewSlice(5, 10), Wide(alloc, 1))
}

// Small returns the small ones of Batches: first three of one schema, then four with
// dictionaries.
func Small(alloc memory.Allocator) []arrow.RecordBatch {
	nested := nestedRows(alloc, 100)
	out := []arrow.RecordBatch{nested, nested.NewSlice(7, 53), nested.NewSlice(99, 100)}
	for _, words := range [][]string{{"a", "b"}, {"a", "b"}, {"c"}, {"a", "b", "c"}} {
		out = append(out, dictionary(alloc, words))
	}
	return out
}

func nestedRows(alloc memory.Allocator, rows int) arrow.RecordBatch {
	text := array.NewStringBuilder(alloc)
	defer text.Release()
	list := array.NewListBuilder(alloc, arrow.PrimitiveTypes.Int32)
	defer list.Release()
	fixed := array.NewDecimal128Builder(alloc, &arrow.Decimal128Type{Precision: 20, Scale: 2})
	defer fixed.Release()
	pair := array.NewStructBuilder(alloc, arrow.StructOf(arrow.Field{Name: "x", Type: arrow.BinaryTypes.Binary, Nullable: true}))
	defer pair.Release()
	table := array.NewMapBuilder(alloc, arrow.BinaryTypes.String, arrow.PrimitiveTypes.Float64, false)
	defer table.Release()
	flag := array.NewBooleanBuilder(alloc)
	defer flag.Release()
	for i := range rows {
		if i%5 == 0 {
			for _, b := range []array.Builder{text, list, fixed, pair, table, flag} {
				b.AppendNull()
			}
			continue
		}
		text.Append(fmt.Sprintf("row %d", i))
		flag.Append(i%2 == 0)
		if err := fixed.AppendValueFromString(fmt.Sprintf("%d.25", i)); err != nil {
			panic(err) // a decimal that this file has written
		}
		list.Append(true)
		for k := range i % 4 {
			list.ValueBuilder().(*array.Int32Builder).Append(int32(k))
		}
		pair.Append(true)
		pair.FieldBuilder(0).(*array.BinaryBuilder).Append([]byte{byte(i), 0})
		table.Append(true)
		table.KeyBuilder().(*array.StringBuilder).Append("k")
		table.ItemBuilder().(*array.Float64Builder).Append(float64(i) / 3)
	}
	return of(text.NewArray(), list.NewArray(), fixed.NewArray(), pair.NewArray(), table.NewArray(), flag.NewArray())
}

func dictionary(alloc memory.Allocator, words []string) arrow.RecordBatch {
	b := array.NewDictionaryBuilder(alloc, &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}).(*array.BinaryDictionaryBuilder)
	defer b.Release()
	for i := range 20 {
		if i%7 == 3 {
			b.AppendNull()
			continue
		}
		if err := b.AppendString(words[i%len(words)]); err != nil {
			panic(err) // more words than an index can count, which there are not
		}
	}
	return of(b.NewArray())
}
