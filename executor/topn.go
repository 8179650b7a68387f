package executor

import (
	"bytes"
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/physical"
)

// topN keeps the first rows of an order without sorting them all.
type topN struct {
	base
	n      *physical.TopN
	keys   *computed
	enc    *sortEncoder
	chunks [][]arrow.Array
	bytes  rowkey.Rows // keys of the rows at hand
	bound  []byte      // key of the last row that can still be in, once there are enough
	out    cutter
	done   bool
}

func newTopN(n *physical.TopN, in Operator) (*topN, error) {
	if n.Count < 0 || n.Offset < 0 {
		return nil, fmt.Errorf("%s: count and offset must not be negative", n)
	}
	keys, err := newSortKeys(n.Keys, in.Schema())
	if err != nil {
		return nil, err
	}
	enc, err := newSortEncoder(n.Keys)
	return &topN{base: base{node: n, in: []Operator{in}}, n: n, keys: keys, enc: enc}, err
}

func (t *topN) Open(ctx context.Context, tc *TaskContext) error {
	t.reset()
	t.keys.open(tc)
	return t.base.Open(ctx, tc)
}

func (t *topN) reset() {
	for _, c := range t.chunks {
		gather.Release(c)
	}
	t.chunks, t.bound, t.done = nil, nil, false
	t.bytes.Reset()
	t.out.reset()
}

func (t *topN) Close() error {
	t.reset()
	return t.base.Close()
}

func (t *topN) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if !t.done {
		t.done = true
		if t.n.Count > 0 {
			if err := drain(ctx, t.in[0], t.add); err != nil {
				return nil, err
			}
		}
		if err := t.finish(); err != nil {
			return nil, err
		}
	}
	return t.out.next()
}

func (t *topN) keep() int { return int(min(t.n.Count+t.n.Offset, sortRows)) }

func (t *topN) add(rec arrow.RecordBatch) error {
	keys, err := t.keys.run(rec)
	if err != nil {
		return err
	}
	defer gather.Release(keys)
	n := int(rec.NumRows())
	if err := t.enc.encode(keys, n); err != nil {
		return err
	}
	var rows []int32
	for i := range n {
		if t.bound == nil || bytes.Compare(t.enc.rows.Row(i), t.bound) < 0 {
			rows = append(rows, int32(i))
			t.bytes.Append(t.enc.rows.Row(i))
		}
	}
	if len(rows) == 0 {
		return nil
	}
	cols, err := gather.Columns(t.tc.Alloc, rec.Columns(), rows)
	if err != nil {
		return err
	}
	t.chunks = append(t.chunks, cols)
	if t.bytes.Len() > 2*t.keep()+outputRows {
		return t.prune()
	}
	return nil
}

// prune keeps the best rows alone, in order.
func (t *topN) prune() error {
	if len(t.chunks) == 0 {
		return nil
	}
	cols, err := concat(t.tc.Alloc, t.chunks)
	if err != nil {
		return err
	}
	defer gather.Release(cols)
	all := sortEncoder{rows: t.bytes}
	order := all.order()
	order = order[:min(len(order), t.keep())]
	best, err := gather.Columns(t.tc.Alloc, cols, order)
	if err != nil {
		return err
	}
	for _, c := range t.chunks {
		gather.Release(c)
	}
	t.chunks = [][]arrow.Array{best}
	t.bytes = rowkey.Rows{}
	for _, r := range order {
		t.bytes.Append(all.rows.Row(int(r)))
	}
	if len(order) == t.keep() {
		t.bound = bytes.Clone(t.bytes.Row(len(order) - 1))
	}
	return nil
}

func (t *topN) finish() error {
	if err := t.prune(); err != nil {
		return err
	}
	n := t.bytes.Len()
	skip := int(min(t.n.Offset, int64(n)))
	if n == skip {
		return nil
	}
	cols := make([]arrow.Array, len(t.chunks[0]))
	for i, c := range t.chunks[0] {
		cols[i] = array.NewSlice(c, int64(skip), int64(n))
	}
	t.out.set(t.Schema(), cols, n-skip)
	return nil
}
