package executor

import (
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
)

// differ subtracts one multiset of rows from another.
type differ struct {
	codec *rowkey.ValueCodec
	rows  digests
}

func newDiffer(types []arrow.DataType) (differ, error) {
	codec, err := rowkey.NewValueCodec(types)
	return differ{codec: codec}, err
}

// run returns the rows of before that are gone, as Delete, and then those of
// after that are new, as Insert, both in their order; nil if nothing changed.
func (d *differ) run(alloc memory.Allocator, before, after []arrow.RecordBatch, out *arrow.Schema) (arrow.RecordBatch, error) {
	d.rows.reset()
	var chunks [][]arrow.Array
	for s, recs := range [][]arrow.RecordBatch{before, after} {
		sign := int32(2*s - 1)
		for _, rec := range recs {
			if err := d.rows.add(d.codec, rec.Columns(), int(rec.NumRows()), sign); err != nil {
				return nil, err
			}
			chunks = append(chunks, rec.Columns())
		}
	}
	rows, ops := d.changed()
	if len(rows) == 0 {
		return nil, nil
	}
	both, err := concat(alloc, chunks)
	if err != nil {
		return nil, err
	}
	defer gather.Release(both)
	cols, err := gather.Columns(alloc, both, rows)
	if err != nil {
		return nil, err
	}
	if out.NumFields() > len(cols) {
		cols = append(cols, ops8(alloc, ops))
	} else if slices.Contains(ops, batch.Delete) { // the planner has promised that it only grows
		gather.Release(cols)
		return nil, fmt.Errorf("a result that only grows takes rows back")
	}
	return newBatch(out, cols, len(rows)), nil
}

// changed lists what is left of the rows after those on both sides are gone. What
// is too much on one side are its first rows there.
func (d *differ) changed() (rows []int32, ops []batch.Op) {
	for i := range d.rows.keys {
		e, count := d.rows.find(&d.rows.keys[i]), d.rows.counts[i]
		if e.net == 0 || (e.net > 0) != (count > 0) {
			continue
		}
		e.net -= count
		op := batch.Insert
		if count < 0 {
			op = batch.Delete
		}
		rows, ops = append(rows, int32(i)), append(ops, op)
	}
	return rows, ops
}

// ops8 makes a change column.
func ops8(alloc memory.Allocator, ops []batch.Op) arrow.Array {
	b := array.NewInt8Builder(alloc)
	defer b.Release()
	b.Reserve(len(ops))
	for _, op := range ops {
		b.UnsafeAppend(int8(op))
	}
	return b.NewArray()
}

// popBatch hands out the first batch of a list, io.EOF if there is none.
func popBatch(list *[]arrow.RecordBatch) (arrow.RecordBatch, error) {
	if len(*list) == 0 {
		return nil, io.EOF
	}
	rec := (*list)[0]
	(*list)[0] = nil
	*list = (*list)[1:]
	return rec, nil
}
