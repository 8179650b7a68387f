package executor

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/executor/exchange"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	limits "github.com/sluice-stream/sluice/internal/memory"
)

// Groups that memory has no room for are cut by a hash of their keys into parts
// on disk, as partial results; then part by part is merged. A part that is still
// too large is cut again by other bits of the hash. What an earlier spill has of
// a group lies before what a later one has, so that aggregates which depend on
// the order of rows see them in it.
const (
	aggFan      = 16 // parts of one cut
	aggLevels   = 10 // how often groups are cut at most
	aggBytesMax = 1 << 30
	aggShare    = 8       // of a budget, for the groups of one task
	aggPressure = 16      // of that, below which memory being short is not their fault
	spillRows   = 1 << 15 // groups that are cut at a time
)

// merging is an aggregation of partial results that spills, and what hands its
// groups out. An operator that reads rows fills the aggregator itself.
type merging struct {
	agg    *aggregator
	out    groupCutter
	spill  aggSpill
	states *arrow.Schema // keys, then states
}

func newMerging(agg *aggregator, results, states *arrow.Schema) merging {
	return merging{agg: agg, out: groupCutter{agg: agg, schema: results}, states: states}
}

func (m *merging) open(tc *TaskContext) {
	m.agg.open(tc)
	m.out.reset()
	m.spill.close()
}

func (m *merging) close() {
	m.out.reset()
	m.spill.close()
	m.agg.release()
}

// nextSpilled merges the next part that was spilled, if there is one.
func (m *merging) nextSpilled(ctx context.Context, tc *TaskContext) (found bool, err error) {
	p, found := m.spill.next()
	if !found {
		return false, nil
	}
	defer p.drop()
	return true, m.mergeAll(ctx, tc, &partReader{tc: tc, list: &p.kinds[0]}, p.level)
}

// mergeAll merges all of in, or what fits, and leaves the rest to be merged later.
func (m *merging) mergeAll(ctx context.Context, tc *TaskContext, in batchSource, level int) error {
	m.agg.reset()
	for {
		rec, err := in.Next(ctx)
		if err == io.EOF {
			return m.finish(tc, level)
		}
		if err != nil {
			return err
		}
		nkeys := len(m.agg.table.types)
		err = m.put(tc, rec.Columns()[:nkeys], int(rec.NumRows()), level, func(groups []uint32) error {
			return m.agg.merge(groups, rec.Columns()[nkeys:])
		})
		rec.Release()
		if err != nil {
			return err
		}
	}
}

// put adds rows to their groups and spills the groups if they have become too many.
func (m *merging) put(tc *TaskContext, keys []arrow.Array, n, level int, add func(groups []uint32) error) error {
	groups, full := m.agg.assign(keys, n)
	should, can := m.agg.spills(tc, level, 0)
	if full != nil && !(can && refused(full)) {
		return full
	}
	if err := add(groups); err != nil {
		return err
	}
	if should || full != nil {
		return m.spill.groups(tc, m.agg, m.states, level)
	}
	return nil
}

// finish hands the groups out, or puts them with those that were spilled.
func (m *merging) finish(tc *TaskContext, level int) error {
	if m.spill.lists == nil {
		m.out.start()
		return nil
	}
	err := m.spill.groups(tc, m.agg, m.states, level)
	m.spill.end(level)
	return err
}

// aggSpill is what an aggregation has on disk. Of each part there is a list of
// rows of every kind: partial results of groups come first, and behind them what
// calls keep that cannot be computed in parts.
type aggSpill struct {
	kinds  int       // 0 is 1
	lists  []spilled // being written, aggFan of each kind
	parts  []aggPart // still to be merged; the next one is at the end
	hasher rowkey.Hasher
	hashes []uint64
	order  []int32
	part   []uint8
}

type aggPart struct {
	kinds []spilled
	level int
}

func (p *aggPart) drop() {
	for i := range p.kinds {
		p.kinds[i].drop()
	}
}

func (s *aggSpill) close() {
	for i := range s.lists {
		s.lists[i].drop()
	}
	for i := range s.parts {
		s.parts[i].drop()
	}
	s.lists, s.parts = nil, nil
}

// spills says whether the groups at hand should go to disk, and whether they can
// at all: a group by itself cannot.
func (a *aggregator) spills(tc *TaskContext, level int, more int64) (should, can bool) {
	if can = tc.Spill != "" && level < aggLevels && a.table.width > 0 && a.table.Len() > 1; !can {
		return false, false
	}
	limit := int64(aggBytesMax)
	if tc.Budget > 0 {
		limit = min(limit, tc.Budget/aggShare)
	}
	held := a.bytes() + more
	return held > limit || held > limit/aggPressure && tc.Pressure != nil && tc.Pressure(), true
}

// refused reports whether an error is the budget's, which spilling may answer.
func refused(err error) bool {
	var limit *limits.LimitError
	return errors.As(err, &limit)
}

// begin makes the file that the parts of one cut lie in.
func (s *aggSpill) begin(tc *TaskContext) error {
	if s.lists != nil {
		return nil
	}
	f, err := exchange.CreateFile(tc.Spill, "groups-*")
	if err != nil {
		return err
	}
	s.lists = make([]spilled, aggFan*max(s.kinds, 1))
	file := &sharedFile{File: f, lists: len(s.lists)}
	for i := range s.lists {
		s.lists[i].file = file
	}
	return nil
}

// end takes the parts of the cut as what is to be merged next.
func (s *aggSpill) end(level int) {
	for i := aggFan - 1; i >= 0; i-- {
		p, rows := aggPart{level: level + 1}, 0
		for at := i; at < len(s.lists); at += aggFan {
			p.kinds = append(p.kinds, s.lists[at])
			rows += s.lists[at].rows
		}
		if rows == 0 {
			p.drop()
			continue
		}
		s.parts = append(s.parts, p)
	}
	s.lists = nil
}

// next takes the next part that is to be merged.
func (s *aggSpill) next() (aggPart, bool) {
	last := len(s.parts) - 1
	if last < 0 {
		return aggPart{}, false
	}
	p := s.parts[last]
	s.parts = s.parts[:last]
	return p, true
}

// groups writes all groups of an aggregator and empties it.
func (s *aggSpill) groups(tc *TaskContext, a *aggregator, schema *arrow.Schema, level int) error {
	if err := s.begin(tc); err != nil {
		return err
	}
	for first := 0; first < a.table.Len(); first += spillRows {
		end := min(first+spillRows, a.table.Len())
		keys, err := a.table.Keys(tc.Alloc, first, end)
		if err != nil {
			return err
		}
		cols, err := a.states(keys, first, end)
		if err != nil {
			return err
		}
		if err := s.rows(tc, schema, cols, len(a.table.types), end-first, level, 0); err != nil {
			return fmt.Errorf("spill %d groups: %w", end-first, err)
		}
	}
	return a.renew()
}

// rows cuts n rows of a kind, which it takes over, by their first nkeys columns
// and writes them.
func (s *aggSpill) rows(tc *TaskContext, schema *arrow.Schema, cols []arrow.Array, nkeys, n, level, kind int) error {
	starts := s.cut(cols[:nkeys], n, level)
	sorted, err := gather.Columns(tc.Alloc, cols, s.order)
	gather.Release(cols)
	if err != nil {
		return err
	}
	rec := newBatch(schema, sorted, n)
	defer rec.Release()
	for p := range aggFan {
		if starts[p] == starts[p+1] {
			continue
		}
		l := &s.lists[kind*aggFan+p]
		part := rec.NewSlice(int64(starts[p]), int64(starts[p+1]))
		frame, err := l.file.Append(part, tc.Alloc)
		l.rows += int(part.NumRows())
		l.bytes += gather.BatchBytes(part)
		part.Release()
		if err != nil {
			return err
		}
		l.frames = append(l.frames, frame)
	}
	return nil
}

// cut sorts rows by part. The low byte of the hash is the same all over a
// partition of an exchange.
func (s *aggSpill) cut(keys []arrow.Array, n, level int) (starts [aggFan + 1]int32) {
	s.hashes = resized(s.hashes, n)
	s.hasher.Hash(keys, s.hashes)
	s.order, s.part = resized(s.order, n), resized(s.part, n)
	shift := 8 + 4*level
	for i, h := range s.hashes {
		s.part[i] = uint8(h>>shift) & (aggFan - 1)
		starts[s.part[i]+1]++
	}
	for p := range aggFan {
		starts[p+1] += starts[p]
	}
	next := starts
	for i, p := range s.part {
		s.order[next[p]] = int32(i)
		next[p]++
	}
	return starts
}
