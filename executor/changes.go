package executor

import (
	"bytes"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/sinks"
)

// changes lists the rows of a changelog: a position in (new results, then old
// ones), the kind of change and the group.
func (s *statefulAggregate) changes(p *pass, now []arrow.Array) (rows []int32, ops []sinks.Op, groups []int32, err error) {
	before := make([]int32, p.n)
	for i := range before {
		before[i] = -1
	}
	for at, f := range p.found {
		before[f] = int32(at)
	}
	var types []arrow.DataType
	for _, a := range s.n.Aggs {
		types = append(types, a.Func.Result)
	}
	codec, err := rowkey.NewValueCodec(types)
	if err != nil {
		return nil, nil, nil, err
	}
	var newRows, oldRows rowkey.Rows
	if err := codec.Encode(now, p.n, &newRows); err != nil {
		return nil, nil, nil, err
	}
	if len(p.found) > 0 {
		if err := codec.Encode(p.oldRes, len(p.found), &oldRows); err != nil {
			return nil, nil, nil, err
		}
	}
	add := func(row int, op sinks.Op, group int32) {
		rows, ops, groups = append(rows, int32(row)), append(ops, op), append(groups, group)
	}
	for _, g := range p.order {
		old := before[g]
		switch {
		case old < 0:
			add(int(g), sinks.Insert, g)
		case !bytes.Equal(newRows.Row(int(g)), oldRows.Row(int(old))):
			add(p.n+int(old), sinks.UpdateBefore, g)
			add(int(g), sinks.UpdateAfter, g)
		}
	}
	return rows, ops, groups, nil
}

func opColumn(alloc memory.Allocator, op sinks.Op, n int) arrow.Array {
	b := array.NewInt8Builder(alloc)
	defer b.Release()
	b.Reserve(n)
	for range n {
		b.UnsafeAppend(int8(op))
	}
	return b.NewArray()
}
