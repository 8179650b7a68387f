package executor

import (
	"context"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/physical"
)

// workTable hands out what the last round of a recursive query gave.
type workTable struct {
	base
	n    *physical.WorkTable
	rows []arrow.RecordBatch // borrowed from the recursive operator
	at   int
}

func (w *workTable) Open(ctx context.Context, tc *TaskContext) error {
	w.at = 0
	return w.base.Open(ctx, tc)
}

func (w *workTable) Next(context.Context) (arrow.RecordBatch, error) {
	if w.at == len(w.rows) {
		return nil, io.EOF
	}
	w.at++
	return relabel(w.rows[w.at-1], w.n.Out), nil
}

// recursive passes the seed's rows on and then runs the step over them, round
// by round.
type recursive struct {
	base
	n      *physical.Recursive
	tables []*workTable
	seen   *groupTable // the rows that came out, nil where duplicates stay
	groups []uint32
	keep   []int32
	mem    account

	rounds int
	reads  Operator            // what the round at hand reads: the seed, then the step
	last   []arrow.RecordBatch // what the last round gave
	next   []arrow.RecordBatch // what this one gives
}

func newRecursive(n *physical.Recursive, seed, step Operator, tables []*workTable) (*recursive, error) {
	r := &recursive{base: base{node: n, in: []Operator{seed, step}}, n: n, tables: tables}
	if len(tables) == 0 {
		return nil, fmt.Errorf("%s: nothing reads its rounds", n)
	}
	var err error
	if !n.All {
		r.seen, err = newGroupTable(fieldTypes(n.Out.Fields()))
	}
	return r, err
}

// Open opens the seed alone: the step is opened for every round.
func (r *recursive) Open(ctx context.Context, tc *TaskContext) error {
	r.tc = tc
	r.drop()
	r.mem.open(tc)
	if r.seen != nil {
		r.seen.Reset()
	}
	r.rounds, r.reads = 0, r.in[0]
	return r.in[0].Open(ctx, tc)
}

func release(recs []arrow.RecordBatch) []arrow.RecordBatch {
	for i, rec := range recs {
		rec.Release()
		recs[i] = nil
	}
	return recs[:0]
}

func (r *recursive) drop() {
	for _, w := range r.tables {
		w.rows = nil
	}
	r.last, r.next = release(r.last), release(r.next)
}

func (r *recursive) Close() error {
	r.drop()
	_ = r.mem.set(0) // giving back cannot be refused
	return r.base.Close()
}

func (r *recursive) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for {
		rec, err := r.reads.Next(ctx)
		if err == io.EOF {
			if err := r.round(ctx); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		out, err := r.fresh(rec)
		rec.Release()
		if err != nil {
			return nil, err
		}
		if out == nil {
			continue
		}
		out.Retain()
		r.next = append(r.next, out)
		return out, nil
	}
}

// round starts the next round over what this one gave; io.EOF if that is nothing.
func (r *recursive) round(ctx context.Context) error {
	r.last, r.next = r.next, release(r.last)
	if len(r.last) == 0 {
		return io.EOF
	}
	if r.rounds++; r.rounds > r.n.Max {
		return batch.UserErrorf("a recursive query has not ended after %d rounds: it goes round in a circle, or the setting recursion.max-rounds is too low", r.n.Max)
	}
	for _, w := range r.tables {
		w.rows = r.last
	}
	r.reads = r.in[1]
	tc := *r.tc // random numbers are others in every round
	tc.Seed += uint64(r.rounds) * 0x9E3779B97F4A7C15
	return r.in[1].Open(ctx, &tc)
}

// fresh returns the rows that have not come out before; nil if there is none.
func (r *recursive) fresh(rec arrow.RecordBatch) (arrow.RecordBatch, error) {
	n := int(rec.NumRows())
	if n == 0 {
		return nil, nil
	}
	if r.seen == nil {
		return relabel(rec, r.n.Out), nil
	}
	r.groups = resized(r.groups, n)
	known := uint32(r.seen.Len())
	r.seen.Map(rec.Columns(), n, r.groups)
	if err := r.mem.set(r.seen.Bytes()); err != nil {
		return nil, err
	}
	r.keep = r.keep[:0]
	for i, g := range r.groups { // groups are numbered as they come
		if g == known {
			known++
			r.keep = append(r.keep, int32(i))
		}
	}
	out, err := keepRows(r.tc, rec, r.keep)
	if out == nil || err != nil {
		return nil, err
	}
	defer out.Release()
	return relabel(out, r.n.Out), nil
}
