package executor

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/expr"
)

// orderedRows keeps the arguments of an aggregate with ORDER BY until all are there.
type orderedRows struct {
	keys   []expr.SortKey
	nargs  int
	chunks [][]arrow.Array // arguments, then order keys
	groups []uint32
	held   int64 // bytes of chunks
}

func newOrderedRows(a *expr.AggCall) *orderedRows {
	return &orderedRows{keys: a.OrderBy, nargs: len(a.Args)}
}

func (o *orderedRows) reset() {
	for _, c := range o.chunks {
		gather.Release(c)
	}
	o.chunks, o.groups, o.held = nil, o.groups[:0], 0
}

func (o *orderedRows) add(alloc memory.Allocator, cols []arrow.Array, call aggInput, groups []uint32, rows []int32) error {
	var part []arrow.Array
	for _, at := range append(append([]int{}, call.args...), call.order...) {
		part = append(part, cols[at])
	}
	if rows != nil {
		taken, err := gather.Columns(alloc, part, rows)
		if err != nil {
			return err
		}
		part = taken
	} else {
		for _, c := range part {
			c.Retain()
		}
	}
	o.chunks = append(o.chunks, part)
	for _, c := range part {
		o.held += gather.Bytes(c)
	}
	o.groups = append(o.groups, groups...)
	return nil
}

// update feeds the rows to the accumulator in their order.
func (o *orderedRows) update(alloc memory.Allocator, acc expr.Accumulator) error {
	if len(o.groups) == 0 {
		return nil
	}
	cols, err := concat(alloc, o.chunks)
	if err != nil {
		return err
	}
	defer gather.Release(cols)
	enc, err := newSortEncoder(o.keys)
	if err != nil {
		return err
	}
	if err := enc.encode(cols[o.nargs:], len(o.groups)); err != nil {
		return err
	}
	order := enc.order()
	groups := make([]uint32, len(order))
	for i, r := range order {
		groups[i] = o.groups[r]
	}
	args := make([]expr.Vec, o.nargs)
	for i := range args {
		args[i] = expr.Vec{Arr: cols[i]}
	}
	return acc.Update(groups, args, order, len(order))
}

// concat joins the chunks of each column; the caller owns the result.
func concat(alloc memory.Allocator, chunks [][]arrow.Array) ([]arrow.Array, error) {
	if len(chunks) == 0 {
		return nil, nil
	}
	out := make([]arrow.Array, 0, len(chunks[0]))
	for c := range chunks[0] {
		if len(chunks) == 1 {
			chunks[0][c].Retain()
			out = append(out, chunks[0][c])
			continue
		}
		parts := make([]arrow.Array, len(chunks))
		for i := range chunks {
			parts[i] = chunks[i][c]
		}
		arr, err := array.Concatenate(parts, alloc)
		if err != nil {
			gather.Release(out)
			return nil, fmt.Errorf("join %d parts of a %s column: %w", len(parts), parts[0].DataType(), err)
		}
		out = append(out, arr)
	}
	return out, nil
}
