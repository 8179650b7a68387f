package executor

import (
	"bytes"
	"fmt"
	"math"
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
// lie in a chunk of its deltas.
type deltaRow struct {
	key, group, value, end uint32 // key is chunk[key:value], of which chunk[key:group] names the group
	chunk                  int32
	count                  int32
	order                  int32 // of arrival
}

// deltas collects the changes of a batch by row: [prefix][digest of the row] ->
// the row as it is stored. It allocates no memory for a row once it is warm.
type deltas struct {
	chunks [][]byte // a batch can be large, and what has been written is not moved
	full   int      // chunks before the one that is written
	rows   []deltaRow
	vals   rowkey.Rows

	sorter keySorter
	spare  []deltaRow
}

func (d *deltas) reset() {
	for i := range d.chunks {
		d.chunks[i] = d.chunks[i][:0]
	}
	d.full, d.rows = 0, d.rows[:0]
}

func (d *deltas) bytes() int64 {
	sum := 32*int64(cap(d.rows)+cap(d.spare)) + 16*int64(cap(d.sorter.items)+cap(d.sorter.spare)) + d.vals.Bytes()
	for _, c := range d.chunks {
		sum += int64(cap(c))
	}
	return sum
}

// chunk returns the place of a chunk with room for n bytes more.
func (d *deltas) chunk(n int) int {
	const most = 4 << 20
	for ; d.full < len(d.chunks); d.full++ {
		if c := d.chunks[d.full]; cap(c)-len(c) >= n {
			return d.full
		}
	}
	size := n
	if last := len(d.chunks) - 1; last >= 0 {
		size = max(n, min(2*cap(d.chunks[last]), most))
	}
	d.chunks = append(d.chunks, make([]byte, 0, size))
	return d.full
}

// add takes the rows of cols: prefix gives the group of row i, tag follows it in the key.
func (d *deltas) add(codec *rowkey.ValueCodec, cols []arrow.Array, signs []int32, prefix func(i int) []byte, tag byte) error {
	if err := codec.Encode(cols, len(signs), &d.vals); err != nil {
		return err
	}
	d.rows = roomFor(d.rows, len(signs))
	at := d.chunk(len(d.vals.Data) + len(signs)*64)
	c := d.chunks[at]
	for i, sign := range signs {
		r := deltaRow{key: uint32(len(c)), chunk: int32(at), count: sign, order: int32(len(d.rows))}
		c = append(c, prefix(i)...)
		r.group = uint32(len(c))
		row := d.vals.Row(i)
		sum := xxh3.Hash128(row).Bytes()
		c = append(append(c, tag), sum[:]...)
		r.value = uint32(len(c))
		c = append(c, row...)
		r.end = uint32(len(c))
		d.rows = append(d.rows, r)
	}
	d.chunks[at] = c
	if len(c) > math.MaxUint32 {
		return fmt.Errorf("%d bytes of changes in one batch of rows: more than %d", len(c), uint32(math.MaxUint32))
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

func (d *deltas) key(r *deltaRow) []byte   { return d.chunks[r.chunk][r.key:r.value] }
func (d *deltas) group(r *deltaRow) []byte { return d.chunks[r.chunk][r.key:r.group] }
func (d *deltas) value(r *deltaRow) []byte { return d.chunks[r.chunk][r.value:r.end] }
func (d *deltas) tag(r *deltaRow) byte     { return d.chunks[r.chunk][r.group] }

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
