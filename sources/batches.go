package sources

import (
	"context"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Batches is a Reader of rows that are in memory.
type Batches struct {
	Schema  *arrow.Schema // as Project returns it
	Columns []int         // as Opener.Open was asked for them
	Rows    []arrow.RecordBatch
}

var _ Reader = (*Batches)(nil)

// Next implements Reader.
func (b *Batches) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if len(b.Rows) == 0 {
		return nil, io.EOF
	}
	rec := b.Rows[0]
	b.Rows = b.Rows[1:]
	return Pick(rec, b.Schema, b.Columns), nil
}

// Close implements Reader: it releases the rows that have not come out.
func (b *Batches) Close() error {
	for _, rec := range b.Rows {
		rec.Release()
	}
	b.Rows = nil
	return nil
}

// Pick returns the columns of rec, which it takes over, that Project's schema has.
func Pick(rec arrow.RecordBatch, schema *arrow.Schema, columns []int) arrow.RecordBatch {
	if columns == nil {
		return rec
	}
	defer rec.Release()
	cols := make([]arrow.Array, len(columns))
	for i, c := range columns {
		cols[i] = rec.Column(c)
	}
	return array.NewRecordBatch(schema, cols, rec.NumRows())
}
