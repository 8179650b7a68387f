package expr

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// RowCount is the aggregate that counts the rows of a group, whatever is in them:
// the planner's own, with which an aggregate of changing rows sees that a group
// has none left.
func RowCount() *Aggregate {
	return &Aggregate{
		Name: "rows", State: []arrow.DataType{TypeInt64}, Result: TypeInt64, Invertible: true,
		New: func(alloc memory.Allocator) Accumulator { return &rowCounts{alloc: alloc} },
	}
}

type rowCounts struct {
	alloc memory.Allocator
	n     []int64
}

var _ Accumulator = (*rowCounts)(nil)

func (c *rowCounts) Resize(n int) {
	for len(c.n) < n {
		c.n = append(c.n, 0)
	}
	c.n = c.n[:n]
}

func (c *rowCounts) Update(groups []uint32, _ []Vec, sel []int32, n int) error {
	c.add(groups, sel, n, 1)
	return nil
}

func (c *rowCounts) Retract(groups []uint32, _ []Vec, sel []int32, n int) error {
	c.add(groups, sel, n, -1)
	return nil
}

func (c *rowCounts) add(groups []uint32, sel []int32, n int, by int64) {
	if sel != nil {
		n = len(sel)
	}
	if groups == nil {
		c.n[0] += by * int64(n)
		return
	}
	for _, g := range groups[:n] {
		c.n[g] += by
	}
}

func (c *rowCounts) Merge(groups []uint32, state []arrow.Array) error {
	for i, v := range state[0].(*array.Int64).Int64Values() {
		if groups == nil {
			c.n[0] += v
		} else {
			c.n[groups[i]] += v
		}
	}
	return nil
}

func (c *rowCounts) State(first, end int) ([]arrow.Array, error) {
	a, err := c.Final(first, end)
	return []arrow.Array{a}, err
}

func (c *rowCounts) Final(first, end int) (arrow.Array, error) {
	b := array.NewInt64Builder(c.alloc)
	defer b.Release()
	b.AppendValues(c.n[first:end], nil)
	return b.NewArray(), nil
}

func (c *rowCounts) Bytes() int64 { return 8 * int64(cap(c.n)) }
func (c *rowCounts) Reset()       { c.n = c.n[:0] }
func (c *rowCounts) Release()     { c.n = nil }
