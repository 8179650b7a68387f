package executor

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/rowkey"
)

// signs returns +1 or -1 for each row of a delta: what its change column says,
// or +1 for all where there is none. The columns come back without it.
func signs(rec arrow.RecordBatch, dst []int32) ([]arrow.Array, []int32, error) {
	cols, n := rec.Columns(), int(rec.NumRows())
	dst = dst[:0]
	last := len(cols) - 1
	if last < 0 || rec.ColumnName(last) != batch.OpColumn {
		for range n {
			dst = append(dst, 1)
		}
		return cols, dst, nil
	}
	ops, ok := cols[last].(*array.Int8)
	if !ok {
		return nil, nil, fmt.Errorf("column %s is a %s", batch.OpColumn, cols[last].DataType())
	}
	for i := range n {
		switch batch.Op(ops.Value(i)) {
		case batch.Insert, batch.UpdateAfter:
			dst = append(dst, 1)
		default:
			dst = append(dst, -1)
		}
	}
	return cols[:last], dst, nil
}

// deltaRow is one change of a multiset of rows: where the row's key and value
// lie in the arena of its deltas.
type deltaRow struct {
	key, group, value, end int // key is arena[key:value], of which arena[key:group] names the group
	count                  int32
	order                  int32 // of arrival
}

// deltas collects the changes of a batch by row: [prefix][digest of the row] ->
// the row as it is stored. It allocates no memory for a row once it is warm.
type deltas struct {
	arena []byte
	rows  []deltaRow
	vals  rowkey.Rows

	sorter keySorter
	spare  []deltaRow
}

func (d *deltas) reset() { d.arena, d.rows = d.arena[:0], d.rows[:0] }

func (d *deltas) bytes() int64 {
	return int64(cap(d.arena)) + 40*int64(cap(d.rows)+cap(d.spare)) + 16*int64(cap(d.sorter.items)+cap(d.sorter.spare)) + d.vals.Bytes()
}

// add takes the rows of cols: prefix gives the group of row i, tag follows it in the key.
func (d *deltas) add(codec *rowkey.ValueCodec, cols []arrow.Array, signs []int32, prefix func(i int) []byte, tag byte) error {
	if err := codec.Encode(cols, len(signs), &d.vals); err != nil {
		return err
	}
	d.arena = roomFor(d.arena, len(d.vals.Data)+len(signs)*64)
	d.rows = roomFor(d.rows, len(signs))
	for i, sign := range signs {
		r := deltaRow{key: len(d.arena), count: sign, order: int32(len(d.rows))}
		d.arena = append(d.arena, prefix(i)...)
		r.group = len(d.arena)
		row := d.vals.Row(i)
		sum := xxh3.Hash128(row).Bytes()
		d.arena = append(append(d.arena, tag), sum[:]...)
		r.value = len(d.arena)
		d.arena = append(d.arena, row...)
		r.end = len(d.arena)
		d.rows = append(d.rows, r)
	}
	return nil
}

// roomFor makes room for n more. It doubles, where append adds a quarter to what is
// large and so copies it all over again four times.
func roomFor[T any](list []T, n int) []T {
	if cap(list)-len(list) >= n {
		return list
	}
	return slices.Grow(list, max(n, cap(list)))
}

func (d *deltas) key(r *deltaRow) []byte   { return d.arena[r.key:r.value] }
func (d *deltas) group(r *deltaRow) []byte { return d.arena[r.key:r.group] }
func (d *deltas) value(r *deltaRow) []byte { return d.arena[r.value:r.end] }
func (d *deltas) tag(r *deltaRow) byte     { return d.arena[r.group] }

// net sorts the changes by key and adds up those of one row; rows that come out
// even are dropped.
func (d *deltas) net() {
	order := d.sorter.order(len(d.rows), func(i int32) []byte { return d.key(&d.rows[i]) })
	out := slices.Grow(d.spare[:0], len(d.rows))
	for i := 0; i < len(order); {
		r := d.rows[order[i].i]
		for i++; i < len(order) && bytes.Equal(d.key(&r), d.key(&d.rows[order[i].i])); i++ {
			r.count += d.rows[order[i].i].count
		}
		if r.count != 0 {
			out = append(out, r)
		}
	}
	d.rows, d.spare = out, d.rows
}

// each visits the changes group by group.
func (d *deltas) each(visit func(group []byte, rows []deltaRow) error) error {
	for i := 0; i < len(d.rows); {
		from := i
		group := d.group(&d.rows[i])
		for i++; i < len(d.rows) && bytes.Equal(group, d.group(&d.rows[i])); i++ {
		}
		if err := visit(group, d.rows[from:i]); err != nil {
			return err
		}
	}
	return nil
}
