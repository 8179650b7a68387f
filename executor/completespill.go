package executor

import (
	"context"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/gather"
)

// What a distinct or ordered call spills is its rows, behind the keys of their
// groups: the arguments and what they are ordered by, in the order in which they
// came. Read back they are added like rows that come in, so that the accumulator
// sees the same rows in the same order.

// rowSchema is that of the rows of call i.
func (c *completeAggregate) rowSchema(i int) *arrow.Schema {
	if !c.special(i) {
		return nil
	}
	a := c.agg.aggs[i]
	var fields []arrow.Field
	add := func(types []arrow.DataType) {
		for _, dt := range types {
			fields = append(fields, arrow.Field{Type: dt, Nullable: true})
		}
	}
	add(c.agg.table.types)
	add(typesOf(a.Args))
	if c.ordered[i] != nil {
		for _, k := range a.OrderBy {
			add([]arrow.DataType{k.Expr.Type()})
		}
	}
	return arrow.NewSchema(fields, nil)
}

// forgetRows empties what special calls keep.
func (c *completeAggregate) forgetRows() {
	for i := range c.seen {
		if c.seen[i] != nil {
			c.seen[i].Reset()
		}
		if c.ordered[i] != nil {
			c.ordered[i].reset()
		}
	}
}

// rowBytes is what special calls keep.
func (c *completeAggregate) rowBytes() (allocated, charged int64) {
	for i := range c.seen {
		if c.seen[i] != nil {
			charged += c.seen[i].Bytes()
		}
		if o := c.ordered[i]; o != nil {
			charged += 4 * int64(cap(o.groups))
			allocated += o.held
		}
	}
	return allocated, charged
}

// putRows is put for calls that keep rows.
func (c *completeAggregate) putRows(keys []arrow.Array, n, level int, add func(groups []uint32) error) error {
	groups, full := c.agg.assign(keys, n)
	if full != nil && !refused(full) {
		return full
	}
	if err := add(groups); err != nil {
		return err
	}
	allocated, charged := c.rowBytes()
	if err := c.mem.set(charged); err != nil {
		full = err
	}
	should, can := c.agg.spills(c.tc, level, allocated+charged)
	if full != nil && !(can && refused(full)) {
		return full
	}
	if should || full != nil {
		return c.flush(level)
	}
	return nil
}

// flush spills all groups with the rows that calls keep.
func (c *completeAggregate) flush(level int) error {
	if err := c.spill.begin(c.tc); err != nil {
		return err
	}
	for i, acc := range c.agg.accs {
		if !c.special(i) {
			continue
		}
		if err := c.flushRows(i, level); err != nil {
			return fmt.Errorf("spill the rows of %s: %w", c.agg.aggs[i], err)
		}
		acc.Reset() // its state comes of the rows again
		acc.Resize(c.agg.table.Len())
	}
	c.forgetRows()
	for i, s := range c.seen {
		if s != nil {
			var err error
			if c.seen[i], err = newGroupTable(s.types); err != nil {
				return err
			}
		}
		if c.ordered[i] != nil {
			c.ordered[i] = newOrderedRows(c.agg.aggs[i])
		}
	}
	_, charged := c.rowBytes()
	if err := c.mem.set(charged); err != nil {
		return err
	}
	return c.spill.groups(c.tc, c.agg, c.states, level)
}

func (c *completeAggregate) flushRows(i, level int) error {
	cols, groups, err := c.rowsOf(i)
	if err != nil {
		return err
	}
	defer gather.Release(cols)
	all, err := c.agg.table.Keys(c.tc.Alloc, 0, c.agg.table.Len())
	if err != nil {
		return err
	}
	defer gather.Release(all)
	for first := 0; first < len(groups); first += spillRows {
		end := min(first+spillRows, len(groups))
		at := make([]int32, end-first)
		for k, g := range groups[first:end] {
			at[k] = int32(g)
		}
		part, err := gather.Columns(c.tc.Alloc, all, at)
		if err != nil {
			return err
		}
		for _, col := range cols {
			part = append(part, array.NewSlice(col, int64(first), int64(end)))
		}
		if err := c.spill.rows(c.tc, c.kinds[i], part, len(all), end-first, level, 1+i); err != nil {
			return err
		}
	}
	return nil
}

// rowsOf returns the rows that a call keeps, in their order, and their groups.
func (c *completeAggregate) rowsOf(i int) (cols []arrow.Array, groups []uint32, err error) {
	if o := c.ordered[i]; o != nil {
		cols, err = concat(c.tc.Alloc, o.chunks)
		return cols, o.groups, err
	}
	pairs, err := c.seen[i].Keys(c.tc.Alloc, 0, c.seen[i].Len())
	if err != nil {
		return nil, nil, err
	}
	groups = append(groups, pairs[0].(*array.Uint32).Uint32Values()...)
	pairs[0].Release()
	return pairs[1:], groups, nil
}

// finishRows hands the groups out, or puts them with those that were spilled.
func (c *completeAggregate) finishRows(level int) error {
	if c.spill.lists != nil {
		err := c.flush(level)
		c.spill.end(level)
		return err
	}
	for i, o := range c.ordered {
		if o == nil {
			continue
		}
		if err := o.update(c.tc.Alloc, c.agg.accs[i]); err != nil {
			return fmt.Errorf("%s: %w", c.agg.aggs[i], err)
		}
	}
	c.out.start()
	return nil
}

// mergePart computes the groups of a part: first their partial results, then the
// rows of each call.
func (c *completeAggregate) mergePart(ctx context.Context, p *aggPart) error {
	c.agg.reset()
	c.forgetRows()
	nkeys := len(c.agg.table.types)
	for kind := range p.kinds {
		in := &partReader{tc: c.tc, list: &p.kinds[kind]}
		for {
			rec, err := in.Next(ctx)
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			cols, n := rec.Columns(), int(rec.NumRows())
			err = c.putRows(cols[:nkeys], n, p.level, func(groups []uint32) error {
				if kind == 0 {
					return c.mergeStates(groups, cols[nkeys:])
				}
				return c.keepRows(kind-1, cols, c.spilledInput(kind-1), groups, groups, nil, n)
			})
			rec.Release()
			if err != nil {
				return err
			}
		}
	}
	return c.finishRows(p.level)
}

// spilledInput says where the columns of a call's spilled rows are.
func (c *completeAggregate) spilledInput(i int) aggInput {
	a, at := c.agg.aggs[i], len(c.agg.table.types)
	in := aggInput{filter: -1}
	for range a.Args {
		in.args = append(in.args, at)
		at++
	}
	for range a.OrderBy {
		in.order = append(in.order, at)
		at++
	}
	return in
}

// mergeStates merges the partial results of the calls that keep no rows.
func (c *completeAggregate) mergeStates(groups []uint32, states []arrow.Array) error {
	for i, acc := range c.agg.accs {
		k := len(c.agg.aggs[i].Func.State)
		if !c.special(i) {
			if err := acc.Merge(groups, states[:k]); err != nil {
				return fmt.Errorf("merge partial results of %s: %w", c.agg.aggs[i], err)
			}
		}
		states = states[k:]
	}
	return nil
}
