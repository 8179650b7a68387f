package executor

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/physical"
)

// consolidate takes a whole batch in: what is taken back and put out again
// within it is no change.
type consolidate struct {
	base
	n      *physical.Consolidate
	enc    *rowkey.Encoder
	codec  *rowkey.ValueCodec
	keys   rowkey.Rows
	signs  []int32
	deltas deltas
	chunks [][]arrow.Array
	mem    account
	out    cutter
	done   bool
}

func newConsolidate(n *physical.Consolidate, in Operator) (*consolidate, error) {
	fields := n.Schema().Fields()
	types := fieldTypes(fields[:len(fields)-1])
	keys := make([]arrow.DataType, len(n.Keys))
	for i, k := range n.Keys {
		keys[i] = types[k]
	}
	c := &consolidate{base: base{node: n, in: []Operator{in}}, n: n}
	var err error
	if c.enc, err = rowkey.NewEncoder(keys); err != nil {
		return nil, err
	}
	c.codec, err = rowkey.NewValueCodec(types)
	return c, err
}

func (c *consolidate) Open(ctx context.Context, tc *TaskContext) error {
	c.reset()
	c.mem.open(tc)
	return c.base.Open(ctx, tc)
}

func (c *consolidate) reset() {
	for _, cols := range c.chunks {
		gather.Release(cols)
	}
	c.chunks, c.done = nil, false
	c.deltas.reset()
	c.out.reset()
}

func (c *consolidate) Close() error {
	c.reset()
	_ = c.mem.set(0) // giving back cannot be refused
	return c.base.Close()
}

func (c *consolidate) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if !c.done {
		c.done = true
		if err := drain(ctx, c.in[0], c.take); err != nil {
			return nil, err
		}
		if err := c.emit(); err != nil {
			return nil, err
		}
	}
	return c.out.next()
}

func (c *consolidate) take(rec arrow.RecordBatch) error {
	cols, signed, err := signs(rec, c.signs)
	if err != nil {
		return err
	}
	c.signs = signed
	keys := make([]arrow.Array, len(c.n.Keys))
	for i, k := range c.n.Keys {
		keys[i] = cols[k]
	}
	if err := c.enc.Encode(keys, len(signed), &c.keys); err != nil {
		return err
	}
	if err := c.deltas.add(c.codec, cols, signed, c.keys.Row, 0); err != nil {
		return err
	}
	kept := make([]arrow.Array, len(cols))
	for i, col := range cols {
		col.Retain()
		kept[i] = col
	}
	c.chunks = append(c.chunks, kept)
	return c.mem.set(c.deltas.bytes())
}

// emit says of each key what became of its row.
func (c *consolidate) emit() error {
	var rows []int32
	var ops []batch.Op
	add := func(row int32, op batch.Op) { rows, ops = append(rows, row), append(ops, op) }
	c.deltas.net()
	_ = c.deltas.each(func(_ []byte, changed []deltaRow) error { // visit has no error
		if c.n.Rows {
			everyRow(changed, add)
			return nil
		}
		gone, come := int32(-1), int32(-1)
		for i := range changed {
			if changed[i].count > 0 {
				come = c.latest(&changed[i], come)
			} else {
				gone = c.latest(&changed[i], gone)
			}
		}
		switch {
		case come < 0:
			add(gone, batch.Delete)
		case gone < 0:
			add(come, c.fresh())
		case c.n.Before:
			add(gone, batch.UpdateBefore)
			add(come, batch.UpdateAfter)
		default:
			add(come, batch.UpdateAfter)
		}
		return nil
	})
	if len(rows) == 0 {
		return nil
	}
	all, err := concat(c.tc.Alloc, c.chunks)
	if err != nil {
		return err
	}
	defer gather.Release(all)
	cols, err := gather.Columns(c.tc.Alloc, all, rows)
	if err != nil {
		return err
	}
	c.out.set(c.Schema(), append(cols, ops8(c.tc.Alloc, ops)), len(rows))
	return nil
}

// everyRow says of each row how often it has come or gone.
func everyRow(changed []deltaRow, add func(row int32, op batch.Op)) {
	for i := range changed {
		op, count := batch.Insert, changed[i].count
		if count < 0 {
			op, count = batch.Delete, -count
		}
		for range count {
			add(changed[i].order, op)
		}
	}
}

// fresh is what a row without one before is to whoever reads the changes.
func (c *consolidate) fresh() batch.Op {
	if c.n.Before {
		return batch.Insert
	}
	return batch.UpdateAfter
}

// latest prefers the row that came last: a key that is not unique, against what
// was declared, has one row all the same.
func (c *consolidate) latest(r *deltaRow, other int32) int32 { return max(r.order, other) }
