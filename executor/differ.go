package executor

import (
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
	codec  *rowkey.ValueCodec
	deltas deltas
}

func newDiffer(types []arrow.DataType) (differ, error) {
	codec, err := rowkey.NewValueCodec(types)
	return differ{codec: codec}, err
}

// run returns the rows of before that are gone, as Delete, and then those of
// after that are new, as Insert, both in their order; nil if nothing changed.
func (d *differ) run(alloc memory.Allocator, before, after []arrow.RecordBatch, out *arrow.Schema) (arrow.RecordBatch, error) {
	d.deltas.reset()
	var chunks [][]arrow.Array
	var ones []int32
	n := 0
	for s, recs := range [][]arrow.RecordBatch{before, after} {
		sign := int32(2*s - 1)
		for _, rec := range recs {
			ones = ones[:0]
			for range rec.NumRows() {
				ones = append(ones, sign)
			}
			if err := d.deltas.add(d.codec, rec.Columns(), ones, func(int) []byte { return nil }, 0); err != nil {
				return nil, err
			}
			n += len(ones)
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
	return newBatch(out, append(cols, ops8(alloc, ops)), len(rows)), nil
}

// changed lists what is left of the rows after those on both sides are gone.
func (d *differ) changed() (rows []int32, ops []batch.Op) {
	all := d.deltas.rows
	slices.SortFunc(all, func(a, b deltaRow) int {
		if c := slices.Compare(d.deltas.key(&a), d.deltas.key(&b)); c != 0 {
			return c
		}
		return int(a.order - b.order)
	})
	left := all[:0]
	for i := 0; i < len(all); {
		from := i
		var net int32
		for ; i < len(all) && slices.Equal(d.deltas.key(&all[from]), d.deltas.key(&all[i])); i++ {
			net += all[i].count
		}
		// What is too much on one side are its first rows there.
		for _, r := range all[from:i] {
			if net != 0 && (net > 0) == (r.count > 0) {
				left = append(left, r)
				net -= r.count
			}
		}
	}
	slices.SortFunc(left, func(a, b deltaRow) int { return int(a.order - b.order) })
	for _, r := range left {
		op := batch.Insert
		if r.count < 0 {
			op = batch.Delete
		}
		rows, ops = append(rows, r.order), append(ops, op)
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
