package builders

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Batch is the rows that a decoder has appended, in a builder for each column. A decoder
// embeds it, puts values into the fields and tells it of each row.
type Batch struct {
	b    *array.RecordBuilder
	rows int
}

// NewBatch makes builders for the columns of a schema; alloc may be nil.
func NewBatch(alloc memory.Allocator, schema *arrow.Schema) Batch {
	if alloc == nil {
		alloc = memory.DefaultAllocator
	}
	return Batch{b: array.NewRecordBuilder(alloc, schema)}
}

// Schema returns the columns.
func (r *Batch) Schema() *arrow.Schema { return r.b.Schema() }

// Field returns the builder of a column.
func (r *Batch) Field(i int) array.Builder { return r.b.Field(i) }

// Appended says that each field has got one value.
func (r *Batch) Appended() { r.rows++ }

// AppendNull appends a row of NULLs.
func (r *Batch) AppendNull() {
	for _, f := range r.b.Fields() {
		f.AppendNull()
	}
	r.rows++
}

// Rows returns the number of rows since the last Flush.
func (r *Batch) Rows() int { return r.rows }

// Flush returns the rows so far; the caller owns the batch.
func (r *Batch) Flush() arrow.RecordBatch {
	n := r.rows
	r.rows = 0
	if len(r.b.Fields()) == 0 {
		return array.NewRecordBatch(r.b.Schema(), nil, int64(n))
	}
	return r.b.NewRecordBatch()
}

// Release throws away what was not flushed.
func (r *Batch) Release() { r.b.Release() }

// Beside is a column that is built beside a batch.
type Beside struct {
	At int // its place among all columns; -1 if nobody asks for it
	B  array.Builder
}

// Join returns a batch of the columns of rec, which it takes over, and of those beside:
// from says for each column of the schema its place in rec, or -1.
func Join(schema *arrow.Schema, from []int, rec arrow.RecordBatch, beside ...Beside) arrow.RecordBatch {
	defer rec.Release()
	cols := make([]arrow.Array, len(from))
	for i, at := range from {
		if at >= 0 {
			cols[i] = rec.Column(at)
		}
	}
	for _, c := range beside {
		a := c.B.NewArray()
		defer a.Release()
		if c.At >= 0 {
			cols[c.At] = a
		}
	}
	return array.NewRecordBatch(schema, cols, rec.NumRows())
}
