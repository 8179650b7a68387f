package gather

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Bytes is the memory that the rows of arr need. Of a slice it counts what the
// slice shows, not the buffers that it shares with others.
func Bytes(arr arrow.Array) int64 {
	n := int64(arr.Len())
	if n == 0 {
		return 0
	}
	sum := n / 8
	switch a := arr.(type) {
	case *array.String:
		return sum + 4*n + int64(len(a.ValueBytes()))
	case *array.Binary:
		return sum + 4*n + int64(len(a.ValueBytes()))
	case *array.Struct:
		for f := range a.NumField() {
			sum += Bytes(a.Field(f))
		}
		return sum
	case array.ListLike:
		start, _ := a.ValueOffsets(0)
		_, end := a.ValueOffsets(int(n) - 1)
		part := array.NewSlice(a.ListValues(), start, end)
		defer part.Release()
		return sum + 4*n + Bytes(part)
	}
	if t, ok := arr.DataType().(arrow.FixedWidthDataType); ok {
		return sum + n*int64(t.BitWidth())/8
	}
	return int64(arr.Data().SizeInBytes())
}

// BatchBytes is Bytes over the columns of a batch.
func BatchBytes(rec arrow.RecordBatch) int64 {
	var sum int64
	for _, c := range rec.Columns() {
		sum += Bytes(c)
	}
	return sum
}
