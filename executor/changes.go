package executor

import (
	"bytes"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/sinks"
)

// change is a row of the output of a batch: where its result is, among the new
// ones followed by the old ones.
type change struct {
	at int32
	op sinks.Op
}

// changes lists what comes out for the groups of the batch: positions in (new
// results, then old ones), kinds of change, and groups.
func (s *statefulAggregate) changes(p *pass, keys, now []arrow.Array) (rows []int32, ops []sinks.Op, groups []int32, err error) {
	before := nulls(p.n)
	for at, f := range p.found {
		before[f] = int32(at)
	}
	same, err := s.unchanged(p, now)
	if err != nil {
		return nil, nil, nil, err
	}
	shows, showed, err := s.shown(p, keys, now)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, g := range p.order {
		old := before[g]
		var cs []change
		there := shows(g) && !s.gone(p, g)
		if s.mode() == sinks.Changelog {
			cs = changelog(g, old, int32(p.n), there, old >= 0 && showed(old), func() bool { return same(g, old) })
		} else {
			cs = upsert(g, old, int32(p.n), there, old >= 0 && showed(old))
		}
		for _, c := range cs {
			rows, ops, groups = append(rows, c.at), append(ops, c.op), append(groups, g)
		}
	}
	return rows, ops, groups, nil
}

// changelog tells of a group as of a row that is there or not.
func changelog(g, old, n int32, shows, showed bool, same func() bool) []change {
	switch {
	case shows && !showed:
		return []change{{g, sinks.Insert}}
	case !shows && showed:
		return []change{{n + old, sinks.Delete}}
	case shows && showed && !same():
		return []change{{n + old, sinks.UpdateBefore}, {g, sinks.UpdateAfter}}
	}
	return nil
}

// upsert tells of every group that was touched, by its key.
func upsert(g, old, n int32, shows, showed bool) []change {
	switch {
	case shows && old >= 0 && !showed:
		return []change{{g, sinks.Insert}}
	case shows:
		return []change{{g, sinks.UpdateAfter}}
	case showed:
		return []change{{n + old, sinks.Delete}}
	}
	return nil
}

// unchanged compares the result of a group with the old one at a position of p.found.
func (s *statefulAggregate) unchanged(p *pass, now []arrow.Array) (func(g, old int32) bool, error) {
	var types []arrow.DataType
	for _, a := range s.visibleAggs() {
		types = append(types, a.Func.Result)
	}
	codec, err := rowkey.NewValueCodec(types)
	if err != nil {
		return nil, err
	}
	var newRows, oldRows rowkey.Rows
	if err := codec.Encode(now, p.n, &newRows); err != nil {
		return nil, err
	}
	if len(p.found) > 0 {
		if err := codec.Encode(p.oldRes, len(p.found), &oldRows); err != nil {
			return nil, err
		}
	}
	return func(g, old int32) bool { return bytes.Equal(newRows.Row(int(g)), oldRows.Row(int(old))) }, nil
}

// shown says which groups HAVING lets through now, and which it did before.
func (s *statefulAggregate) shown(p *pass, keys, now []arrow.Array) (shows, showed func(int32) bool, err error) {
	if shows, err = s.visible(append(append([]arrow.Array{}, keys...), now...), p.n, true); err != nil {
		return nil, nil, err
	}
	found := make([]int32, len(p.found))
	for i, f := range p.found {
		found[i] = int32(f)
	}
	oldKeys, err := gather.Columns(s.tc.Alloc, keys, found)
	if err != nil {
		return nil, nil, err
	}
	defer gather.Release(oldKeys)
	if len(found) == 0 {
		return shows, shows, nil
	}
	showed, err = s.visible(append(append([]arrow.Array{}, oldKeys...), p.oldRes...), len(found), false)
	return shows, showed, err
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
