package memory

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
)

// full is the schema of the rows as they are kept: with the kind of change last.
func (s *Stream) full() *arrow.Schema {
	if s.Changes == batch.OnlyGrows {
		return s.schema
	}
	return arrow.NewSchema(append(s.schema.Fields(), arrow.Field{Name: batch.OpColumn, Type: arrow.PrimitiveTypes.Int8}), nil)
}

// stored returns rows as they are kept; the caller owns the result. A kind of change
// that is none is refused here, since nobody looks again.
func (s *Stream) stored(rec arrow.RecordBatch) (arrow.RecordBatch, error) {
	n := int(rec.NumCols())
	if s.Changes == batch.OnlyGrows || n == 0 {
		rec.Retain()
		return rec, nil
	}
	cols := rec.Columns()
	if rec.ColumnName(n-1) != batch.OpColumn {
		ops := Ops(batch.Insert, int(rec.NumRows()))
		defer ops.Release()
		fields := append(rec.Schema().Fields(), arrow.Field{Name: batch.OpColumn, Type: arrow.PrimitiveTypes.Int8})
		return array.NewRecordBatch(arrow.NewSchema(fields, nil), append(cols[:n:n], ops), rec.NumRows()), nil
	}
	ops, ok := cols[n-1].(*array.Int8)
	if !ok || ops.NullN() > 0 {
		return nil, batch.UserErrorf("add %d changes to a memory stream: column %s must hold a kind of change in each row, as TINYINT", rec.NumRows(), batch.OpColumn)
	}
	for _, op := range ops.Int8Values() {
		if op < int8(batch.Insert) || op > int8(batch.Delete) {
			return nil, batch.UserErrorf("add %d changes to a memory stream: %d in column %s is no kind of change", rec.NumRows(), op, batch.OpColumn)
		}
	}
	return array.NewRecordBatch(s.full(), cols, rec.NumRows()), nil
}

// Ops is a column of one kind of change.
func Ops(op batch.Op, n int) arrow.Array {
	b := array.NewInt8Builder(memory.DefaultAllocator)
	defer b.Release()
	b.Reserve(n)
	for range n {
		b.UnsafeAppend(int8(op))
	}
	return b.NewArray()
}
