package formats

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Concat copies the rows of several batches of a schema, which stay the caller's, into one.
// Of no batches it is one without rows.
func Concat(schema *arrow.Schema, recs []arrow.RecordBatch, alloc memory.Allocator) (arrow.RecordBatch, error) {
	if len(recs) == 0 {
		b := array.NewRecordBuilder(alloc, schema)
		defer b.Release()
		return b.NewRecordBatch(), nil
	}
	rows := int64(0)
	for _, rec := range recs {
		rows += rec.NumRows()
	}
	cols := make([]arrow.Array, 0, schema.NumFields())
	defer func() {
		for _, c := range cols {
			c.Release()
		}
	}()
	for i, f := range schema.Fields() {
		parts := make([]arrow.Array, len(recs))
		for j, rec := range recs {
			parts[j] = rec.Column(i)
		}
		c, err := array.Concatenate(parts, alloc)
		if err != nil {
			return nil, fmt.Errorf("put rows of column %q together: %w", f.Name, err)
		}
		cols = append(cols, c)
	}
	return array.NewRecordBatch(schema, cols, rows), nil
}
