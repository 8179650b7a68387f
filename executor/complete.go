package executor

import (
	"context"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/physical"
)

// completeAggregate groups raw rows in one step. Only here every row of a group
// meets every other, which distinct and ordered aggregates need.
type completeAggregate struct {
	base
	merging
	in1     *aggInputs
	seen    []*groupTable // per call: the (group, arguments) pairs of a DISTINCT
	ordered []*orderedRows
	ids     []uint32
	mem     account         // of seen and ordered
	kinds   []*arrow.Schema // by call: of the rows that a special one spills
	done    bool
	// mergeable says that no call is distinct or ordered: then groups may spill.
	mergeable bool
}

func newCompleteAggregate(n *physical.CompleteAggregate, in Operator) (*completeAggregate, error) {
	agg, err := newAggregator(typesOf(n.Keys), n.Aggs)
	if err != nil {
		return nil, err
	}
	inputs, err := newAggInputs(n.Keys, n.Aggs, in.Schema())
	if err != nil {
		return nil, err
	}
	c := &completeAggregate{base: base{node: n, in: []Operator{in}}, merging: newMerging(agg, n.Schema(), stateSchema(n)), in1: inputs,
		seen: make([]*groupTable, len(n.Aggs)), ordered: make([]*orderedRows, len(n.Aggs)), mergeable: true}
	for i, a := range n.Aggs {
		if a.Distinct && !a.Func.IgnoresDuplicates {
			c.mergeable = false
			types := append([]arrow.DataType{arrow.PrimitiveTypes.Uint32}, typesOf(a.Args)...)
			if c.seen[i], err = newGroupTable(types); err != nil {
				return nil, fmt.Errorf("%s: %w", a, err)
			}
		}
		if len(a.OrderBy) > 0 {
			c.ordered[i], c.mergeable = newOrderedRows(a), false
		}
	}
	c.spill.kinds = 1 + len(n.Aggs)
	for i := range n.Aggs {
		c.kinds = append(c.kinds, c.rowSchema(i))
	}
	return c, nil
}

// stateSchema is that of the groups' partial results.
func stateSchema(n *physical.CompleteAggregate) *arrow.Schema {
	fields := append([]arrow.Field{}, n.Out.Fields()[:len(n.Keys)]...)
	for _, dt := range stateTypes(n.Aggs) {
		fields = append(fields, arrow.Field{Type: dt, Nullable: true})
	}
	return arrow.NewSchema(fields, nil)
}

func (c *completeAggregate) Open(ctx context.Context, tc *TaskContext) error {
	c.merging.open(tc)
	c.mem.open(tc)
	c.in1.open(tc)
	c.forgetRows()
	c.done = false
	return c.base.Open(ctx, tc)
}

func (c *completeAggregate) Close() error {
	c.merging.close()
	c.mem.set(0)
	c.forgetRows()
	return c.base.Close()
}

func (c *completeAggregate) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if !c.done {
		c.done = true
		if err := c.compute(ctx); err != nil {
			return nil, err
		}
	}
	for {
		rec, err := c.out.next()
		if err != io.EOF {
			return rec, err
		}
		if err := c.more(ctx); err != nil {
			return nil, err
		}
	}
}

// more computes the groups of the next part that was spilled.
func (c *completeAggregate) more(ctx context.Context) error {
	if c.mergeable {
		found, err := c.nextSpilled(ctx, c.tc)
		if err == nil && !found {
			return io.EOF
		}
		return err
	}
	p, found := c.spill.next()
	if !found {
		return io.EOF
	}
	defer p.drop()
	return c.mergePart(ctx, &p)
}

func (c *completeAggregate) compute(ctx context.Context) error {
	if err := drain(ctx, c.in[0], c.add); err != nil {
		return err
	}
	if c.mergeable {
		return c.finish(c.tc, 0)
	}
	return c.finishRows(0)
}

func (c *completeAggregate) add(rec arrow.RecordBatch) error {
	n := int(rec.NumRows())
	cols, err := c.in1.run(rec)
	if err != nil {
		return err
	}
	defer gather.Release(cols)
	update := func(groups []uint32) error { return c.update(cols, groups, n) }
	if c.mergeable {
		return c.put(c.tc, cols[:c.in1.nkeys], n, 0, update)
	}
	return c.putRows(cols[:c.in1.nkeys], n, 0, update)
}

func (c *completeAggregate) update(cols []arrow.Array, groups []uint32, n int) (err error) {
	for i, acc := range c.agg.accs {
		call := c.in1.calls[i]
		rows, sub := c.in1.selection(i, cols, groups, n)
		if c.special(i) {
			err = c.keepRows(i, cols, call, groups, sub, rows, n)
		} else {
			err = acc.Update(sub, vecs(cols, call.args), rows, n)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.agg.aggs[i], err)
		}
	}
	return nil
}

// special says whether a call keeps rows besides its accumulator.
func (c *completeAggregate) special(i int) bool { return c.seen[i] != nil || c.ordered[i] != nil }

// keepRows adds rows to a distinct or ordered call. sub are the groups of rows.
func (c *completeAggregate) keepRows(i int, cols []arrow.Array, call aggInput, groups, sub []uint32, rows []int32, n int) (err error) {
	if c.seen[i] != nil {
		if rows, err = c.distinct(i, cols, call.args, groups, rows, n); err != nil {
			return err
		}
		sub = c.in1.pick(groups, rows)
	}
	if o := c.ordered[i]; o != nil {
		return o.add(c.tc.Alloc, cols, call, sub, rows)
	}
	return c.agg.accs[i].Update(sub, vecs(cols, call.args), rows, n)
}

// distinct returns the rows whose arguments are new to their group. A NULL
// argument is left to the accumulator, as without DISTINCT.
func (c *completeAggregate) distinct(i int, cols []arrow.Array, args []int, groups []uint32, rows []int32, n int) ([]int32, error) {
	group := uint32Column(c.tc.Alloc, groups)
	defer group.Release()
	key := []arrow.Array{group}
	for _, a := range args {
		key = append(key, cols[a])
	}
	if rows != nil {
		taken, err := gather.Columns(c.tc.Alloc, key, rows)
		if err != nil {
			return nil, err
		}
		defer gather.Release(taken)
		key, n = taken, len(rows)
	}
	c.ids = resized(c.ids, n)
	next := uint32(c.seen[i].Len())
	c.seen[i].Map(key, n, c.ids)
	fresh := make([]int32, 0, c.seen[i].Len()-int(next))
	for r, id := range c.ids {
		if id != next { // numbers are given in order of first appearance
			continue
		}
		next++
		if rows != nil {
			fresh = append(fresh, rows[r])
		} else {
			fresh = append(fresh, int32(r))
		}
	}
	return fresh, nil
}

func uint32Column(alloc memory.Allocator, vs []uint32) arrow.Array {
	b := array.NewUint32Builder(alloc)
	defer b.Release()
	b.AppendValues(vs, nil)
	return b.NewArray()
}
