package executor

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/executor/rowpattern"
	"github.com/sluice-stream/sluice/planner/expr"
)

// matchBlock is the rows of whole partitions, in order.
type matchBlock struct {
	rec   arrow.RecordBatch
	n     int
	parts []int   // where partitions start, and n
	times []int64 // of the first order key, if a match has a longest time
	near  map[int][]int32
}

// neighbours lists for each row the one at a distance, -1 outside of its partition.
func (b *matchBlock) neighbours(off int) []int32 {
	if b.near == nil {
		b.near = map[int][]int32{}
	}
	if idx := b.near[off]; idx != nil {
		return idx
	}
	idx := make([]int32, b.n)
	for p := range len(b.parts) - 1 {
		first, end := b.parts[p], b.parts[p+1]
		for i := first; i < end; i++ {
			if at := i + off; at >= first && at < end {
				idx[i] = int32(at)
			} else {
				idx[i] = -1
			}
		}
	}
	b.near[off] = idx
	return idx
}

// foundMatch is a match, or with unmatched a row that is in none.
type foundMatch struct {
	number      int64
	start       int // the row where the search started
	from, end   int // of the labels
	part        int
	unmatched   bool
	first, last int // bounds of the partition
}

// matchSearch finds the matches of blocks and makes rows of them.
type matchSearch struct {
	spec   *expr.MatchSpec
	tests  *matchTests
	m      *rowpattern.Matcher
	out    *matchOutput
	time   *expr.Column // the first order key, if a match has a longest time
	ties   *rowkey.Encoder
	tied   rowkey.Rows
	tc     *TaskContext
	found  []foundMatch
	labels []rowpattern.Label
}

func newMatchSearch(spec *expr.MatchSpec, order []expr.SortKey, in, out *arrow.Schema) (*matchSearch, error) {
	s := &matchSearch{spec: spec}
	var err error
	if s.tests, err = newMatchTests(spec, in); err != nil {
		return nil, err
	}
	if s.out, err = newMatchOutput(spec, in, out, s.tests); err != nil {
		return nil, err
	}
	if spec.Within > 0 {
		col, ok := order[0].Expr.(*expr.Column)
		if !ok || col.DT.ID() != arrow.TIMESTAMP {
			return nil, fmt.Errorf("WITHIN over rows that are not ordered by a time")
		}
		s.time = col
	}
	// Types without an order leave rows that are equal in the order keys as they came.
	s.ties, _ = rowkey.NewEncoder(fieldTypes(in.Fields()))
	s.m = rowpattern.New(rowpattern.Compile(spec.Pattern), s.tests.history, s.tests)
	s.tests.m = s.m
	return s, nil
}

func (s *matchSearch) open(tc *TaskContext) {
	s.tc = tc
	s.tests.open(tc)
}

// release lets go of a block and of what the search holds.
func (s *matchSearch) release() {
	s.tests.release()
	s.m.Release()
	s.found, s.labels = s.found[:0], s.labels[:0]
}

func (s *matchSearch) bytes() int64 {
	return s.m.Bytes() + 24*int64(cap(s.labels)) + 72*int64(cap(s.found))
}

// start takes a block in hand.
func (s *matchSearch) start(b *matchBlock) error {
	s.found, s.labels = s.found[:0], s.labels[:0]
	if s.time != nil {
		ts, ok := b.rec.Column(s.time.Index).(*array.Timestamp)
		if !ok {
			return fmt.Errorf("%s is %s, not a timestamp", s.time.Name, b.rec.Column(s.time.Index).DataType())
		}
		b.times = make([]int64, b.n)
		for i := range b.times {
			if b.times[i] = math.MinInt64 / 4; ts.IsValid(i) {
				b.times[i] = int64(ts.Value(i))
			}
		}
	}
	return s.tests.start(b)
}

// matchState is how far the search of a partition has come.
type matchState struct {
	next    int   // row to search from
	number  int64 // of the last match
	covered int   // the last row that is in a match
}

// partition searches a partition of the block as far as its rows are known. rows
// has Limit, Closed, Cut and Now.
func (s *matchSearch) partition(p int, rows rowpattern.Rows, at *matchState) error {
	b := s.tests.block
	rows.First, rows.End, rows.Within, rows.Times = b.parts[p], b.parts[p+1], s.spec.Within, b.times
	s.tests.part = p
	s.m.Partition(rows)
	for at.next < rows.Limit {
		s.tests.num = at.number + 1
		found, err := s.m.Find(at.next)
		if err == nil {
			err = s.tests.err
		}
		if err != nil {
			return err
		}
		switch found {
		case rowpattern.Undecided:
			return nil
		case rowpattern.Nothing:
			if s.spec.AllRows && s.spec.Empty == expr.ShowUnmatched && at.next > at.covered {
				s.found = append(s.found, foundMatch{start: at.next, from: len(s.labels), end: len(s.labels), part: p, unmatched: true, first: rows.First, last: rows.End})
			}
			at.next++
		case rowpattern.Matched:
			if err := s.match(p, rows, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// match notes the match found and goes to where the search goes on.
func (s *matchSearch) match(p int, rows rowpattern.Rows, at *matchState) error {
	at.number++
	from := len(s.labels)
	s.labels = s.m.Labels(s.labels)
	s.found = append(s.found, foundMatch{number: at.number, start: at.next, from: from, end: len(s.labels), part: p, first: rows.First, last: rows.End})
	labels := s.labels[from:]
	if len(labels) == 0 {
		at.next++
		return nil
	}
	last := labels[len(labels)-1].Row
	at.covered = max(at.covered, last)
	switch s.spec.Skip {
	case expr.SkipToNext:
		at.next++
	case expr.SkipPastLast:
		at.next = last + 1
	default:
		to := -1
		for _, l := range labels {
			if slices.Contains(s.spec.SkipVars, l.Var) {
				to = l.Row
				if s.spec.Skip == expr.SkipToFirst {
					break
				}
			}
		}
		if to < 0 {
			return fmt.Errorf("AFTER MATCH SKIP TO %s: no row of the match is %[1]s", s.spec.SkipName)
		}
		if to == labels[0].Row {
			return fmt.Errorf("AFTER MATCH SKIP TO %s goes to the first row of the match, where the same match would be found for ever", s.spec.SkipName)
		}
		at.next = to
	}
	return nil
}

// untie orders rows that are equal in all order keys by their columns, so that the
// result does not depend on how they came. marks says where peers start.
func (s *matchSearch) untie(alloc memory.Allocator, cols []arrow.Array, marks []uint8) ([]arrow.Array, error) {
	idx, err := s.untied(alloc, cols, marks)
	if err != nil {
		return nil, err
	}
	if slices.IsSorted(idx) {
		return retained(cols), nil
	}
	return gather.Columns(alloc, cols, idx)
}

// untied returns the positions of the rows in that order.
func (s *matchSearch) untied(alloc memory.Allocator, cols []arrow.Array, marks []uint8) ([]int32, error) {
	idx := seq(0, len(marks))
	var tied []int32
	for i := range marks {
		if marks[i] == 0 || i+1 < len(marks) && marks[i+1] == 0 {
			tied = append(tied, int32(i))
		}
	}
	if len(tied) == 0 || s.ties == nil {
		return idx, nil
	}
	some, err := gather.Columns(alloc, cols, tied)
	if err != nil {
		return nil, err
	}
	defer gather.Release(some)
	if err := s.ties.Encode(some, len(tied), &s.tied); err != nil {
		return nil, err
	}
	order := seq(0, len(tied)) // positions in tied
	for from := 0; from < len(tied); {
		end := from + 1
		for end < len(tied) && marks[tied[end]] == 0 {
			end++
		}
		slices.SortStableFunc(order[from:end], func(a, b int32) int { return bytes.Compare(s.tied.Row(int(a)), s.tied.Row(int(b))) })
		from = end
	}
	for i, o := range order {
		idx[tied[i]] = tied[o]
	}
	return idx, nil
}

func retained(cols []arrow.Array) []arrow.Array {
	out := slices.Clone(cols)
	for _, c := range out {
		c.Retain()
	}
	return out
}
