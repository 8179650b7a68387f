package executor

import (
	"context"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/physical"
)

// limitBy passes the first rows of each key.
type limitBy struct {
	base
	n      *physical.LimitBy
	keys   *computed
	table  *groupTable
	groups []uint32
	seen   []int64 // rows of each key so far
	keep   []int32
	account
}

func newLimitBy(n *physical.LimitBy, in Operator) (*limitBy, error) {
	keys, err := newComputed(n.By, in.Schema())
	if err != nil {
		return nil, err
	}
	table, err := newGroupTable(typesOf(n.By))
	return &limitBy{base: base{node: n, in: []Operator{in}}, n: n, keys: keys, table: table}, err
}

func (l *limitBy) Open(ctx context.Context, tc *TaskContext) error {
	l.table.Reset()
	l.seen = l.seen[:0]
	l.account.open(tc)
	l.keys.open(tc)
	return l.base.Open(ctx, tc)
}

func (l *limitBy) Close() error {
	_ = l.set(0) // giving back cannot be refused
	return l.base.Close()
}

func (l *limitBy) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for {
		rec, err := l.in[0].Next(ctx)
		if err != nil {
			return nil, err
		}
		out, err := l.apply(rec)
		rec.Release()
		if err != nil || out != nil {
			return out, err
		}
	}
}

func (l *limitBy) apply(rec arrow.RecordBatch) (arrow.RecordBatch, error) {
	cols, err := l.keys.run(rec)
	if err != nil {
		return nil, err
	}
	defer gather.Release(cols)
	n := int(rec.NumRows())
	l.groups = resized(l.groups, n)
	l.table.Map(cols, n, l.groups)
	for len(l.seen) < l.table.Len() {
		l.seen = append(l.seen, 0)
	}
	l.keep = l.keep[:0]
	for i, g := range l.groups {
		at := l.seen[g]
		l.seen[g]++
		if at >= l.n.Offset && (l.n.Count < 0 || at < l.n.Offset+l.n.Count) {
			l.keep = append(l.keep, int32(i))
		}
	}
	if err := l.set(l.table.Bytes() + 8*int64(cap(l.seen))); err != nil {
		return nil, err
	}
	return keepRows(l.tc, rec, l.keep)
}

// rangeTable makes whole numbers.
type rangeTable struct {
	base
	n    *physical.Range
	next int64
	done bool
}

func newRange(n *physical.Range) *rangeTable { return &rangeTable{base: base{node: n}, n: n} }

func (r *rangeTable) Open(ctx context.Context, tc *TaskContext) error {
	r.next, r.done = r.n.Start, tc.Spec.Task.Partition != 0
	return r.base.Open(ctx, tc)
}

// past says whether a value is behind the end.
func (r *rangeTable) past(v int64) bool {
	if r.n.Step > 0 {
		return v >= r.n.End
	}
	return v <= r.n.End
}

func (r *rangeTable) Next(context.Context) (arrow.RecordBatch, error) {
	if r.done || r.past(r.next) {
		return nil, io.EOF
	}
	b := array.NewRecordBuilder(r.tc.Alloc, r.n.Out)
	defer b.Release()
	out := b.Field(0).(*array.Int64Builder)
	out.Reserve(outputRows)
	for range outputRows {
		out.UnsafeAppend(r.next)
		next := r.next + r.n.Step
		if r.n.Step > 0 == (next < r.next) { // the numbers end here
			r.done = true
			break
		}
		if r.next = next; r.past(next) {
			break
		}
	}
	return b.NewRecordBatch(), nil
}
