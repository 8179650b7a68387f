package executor

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/expr"
)

const (
	// fanout is how many nodes of a level one node of the next stands for. Frames
	// shorter than that are aggregated row by row. 4, 8 and 16 take about the same
	// time; with 8 there are a seventh as many partial results as rows.
	fanout = 8
	// frameRows is how many frames are aggregated together.
	frameRows = 4096
	// frameValues bounds the rows in frames that are aggregated together where
	// results grow with them, as lists do.
	frameValues = 1 << 20
)

// frameTree aggregates frames with a tree of partial results: a node is what
// fanout nodes below it come to, the lowest of them rows. A frame is some rows at
// its ends and a frame of nodes between them, which has ends and a frame of wider
// nodes in turn. The frames of neighbouring rows mostly have the same nodes inside,
// which are then aggregated once, so that a row costs a few updates and one merge,
// however long its frame is and whatever the aggregate. Taking back the rows that
// leave a frame would serve a few aggregates only, and sums of floats would not be
// exact. All frames of a batch go through a level together, so that
// accumulators are called with many rows.
type frameTree struct {
	w      *analyticRows
	agg    *expr.AggCall
	args   []expr.Vec
	filter *array.Boolean   // nil for all rows
	acc    expr.Accumulator // of the frames
	nodes  expr.Accumulator // of the nodes in them
	levels [][]arrow.Array  // states of the nodes of fanout, fanout^2, .. rows
	prefix []arrow.Array    // state, a row, of what each frame begins with; nil for nothing
	groups []uint32
	picks  []int32
	chosen frameRowChoice
}

// aggregate computes an aggregate over the frames.
func (w *analyticRows) aggregate(in *callInput) (arrow.Array, error) {
	return w.aggregateRows(in, nil, 0, w.n)
}

// aggregateRows computes the frames of rows [first, end). Each begins with what
// prefix is the state of, borrowed.
func (w *analyticRows) aggregateRows(in *callInput, prefix []arrow.Array, first, end int) (arrow.Array, error) {
	t := &frameTree{w: w, agg: in.call.Agg, args: vecs(w.cols, in.args), prefix: prefix}
	t.acc, t.nodes = t.agg.Func.New(w.tc.Alloc), t.agg.Func.New(w.tc.Alloc)
	defer t.release()
	if in.filter >= 0 {
		var ok bool
		if t.filter, ok = w.cols[in.filter].(*array.Boolean); !ok {
			return nil, fmt.Errorf("the filter is a %s", w.cols[in.filter].DataType())
		}
	}
	if err := t.choose(in); err != nil {
		return nil, err
	}
	if in.call.Frame.Whole() {
		return t.whole()
	}
	f, err := w.frame(in)
	if err != nil {
		return nil, err
	}
	longest := int32(0)
	for i, lo := range f.lo {
		longest = max(longest, f.hi[i]-lo)
	}
	if !t.chosen.each() {
		if err := t.build(longest); err != nil {
			return nil, err
		}
	}
	return t.results(f, first, end)
}

func (t *frameTree) release() {
	t.acc.Release()
	t.nodes.Release()
	for _, l := range t.levels {
		gather.Release(l)
	}
}

// whole aggregates each partition once.
func (t *frameTree) whole() (arrow.Array, error) {
	idx := make([]int32, t.w.n)
	for p := range len(t.w.parts) - 1 {
		for i := t.w.parts[p]; i < t.w.parts[p+1]; i++ {
			idx[i] = int32(p)
		}
	}
	n := len(t.w.parts) - 1
	if err := t.update(n, func(i int32) uint32 { return uint32(idx[i]) }); err != nil {
		return nil, err
	}
	one, err := t.acc.Final(0, n)
	if err != nil {
		return nil, err
	}
	defer one.Release()
	return gather.Take(t.w.tc.Alloc, one, idx)
}

// update makes n groups of all rows.
func (t *frameTree) update(n int, groupOf func(i int32) uint32) error {
	t.acc.Reset()
	t.acc.Resize(n)
	t.groups, t.picks = t.groups[:0], t.picks[:0]
	for i := range int32(t.w.n) {
		if t.chosen.order != nil {
			i = t.chosen.order[i]
		}
		if t.takes(i) {
			t.groups = append(t.groups, groupOf(i))
			t.picks = append(t.picks, i)
		}
	}
	if err := t.flush(t.acc, 0); err != nil {
		return err
	}
	return t.charge()
}

func (t *frameTree) charge() error {
	return t.w.charge(t.acc.Bytes() + t.nodes.Bytes() + 8*int64(cap(t.groups)) + t.chosen.bytes())
}

// takes says whether a row counts wherever it is in a frame.
func (t *frameTree) takes(i int32) bool {
	return t.passes(i) && (t.chosen.once == nil || t.chosen.once[i] < 0)
}

func (t *frameTree) passes(i int32) bool {
	return t.filter == nil || t.filter.IsValid(int(i)) && t.filter.Value(int(i))
}

// build makes the levels whose nodes fit into the longest frame.
func (t *frameTree) build(longest int32) error {
	width := int32(fanout)
	for nodes := t.w.n; longest >= width; width *= fanout {
		nodes = (nodes + fanout - 1) / fanout
		if len(t.levels) == 0 {
			if err := t.update(nodes, func(i int32) uint32 { return uint32(i / fanout) }); err != nil {
				return err
			}
		} else {
			below := t.levels[len(t.levels)-1]
			t.groups = t.groups[:0]
			for i := range below[0].Len() {
				t.groups = append(t.groups, uint32(i/fanout))
			}
			t.acc.Reset()
			t.acc.Resize(nodes)
			if err := t.acc.Merge(t.groups, below); err != nil {
				return err
			}
		}
		states, err := t.acc.State(0, nodes)
		if err != nil {
			return err
		}
		t.levels = append(t.levels, states)
		if width > 1<<30/fanout {
			break
		}
	}
	return nil
}

// results aggregates the frames, some thousand at a time.
func (t *frameTree) results(f *frames, first, end int) (arrow.Array, error) {
	grows := t.chosen.each()
	for _, dt := range t.agg.Func.State {
		grows = grows || rowkey.Width(dt) == 0 && dt.ID() != arrow.DECIMAL128
	}
	var parts []arrow.Array
	defer func() { gather.Release(parts) }()
	for from := first; from < end; {
		to, values := from, int64(0)
		for to < end && to-from < frameRows && (to == from || !grows || values < frameValues) {
			values += int64(f.hi[to] - f.lo[to])
			to++
		}
		part, err := t.batch(f, from, to)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
		from = to
	}
	if len(parts) == 1 {
		parts[0].Retain()
		return parts[0], nil
	}
	return array.Concatenate(parts, t.w.tc.Alloc)
}

// batch aggregates the frames of rows [from, to). Frames that are the same as
// the row's before, as those of peers are, are aggregated once.
func (t *frameTree) batch(f *frames, from, to int) (arrow.Array, error) {
	idx := make([]int32, to-from)
	distinct := make([][3]span, 0, to-from)
	for i := from; i < to; i++ {
		s := f.spans(i)
		if i == from || s != distinct[len(distinct)-1] {
			distinct = append(distinct, s)
		}
		idx[i-from] = int32(len(distinct) - 1)
	}
	t.acc.Reset()
	t.acc.Resize(len(distinct))
	if err := t.begin(len(distinct)); err != nil {
		return nil, err
	}
	if t.chosen.each() {
		t.clear()
		for i, s := range distinct {
			t.pickRows(i, s)
		}
		if err := t.flush(t.acc, 0); err != nil {
			return nil, err
		}
		return t.final(idx, len(distinct))
	}
	pieces := 1
	if f.exclude != expr.ExcludeNone {
		pieces = 3
	}
	spans := make([]span, len(distinct))
	for k := range pieces {
		for i := range distinct {
			spans[i] = distinct[i][k]
		}
		if err := t.add(t.acc, 0, spans); err != nil {
			return nil, err
		}
	}
	return t.final(idx, len(distinct))
}

// final gives each row the result of its frame, of which there are n.
func (t *frameTree) final(idx []int32, n int) (arrow.Array, error) {
	if err := t.charge(); err != nil {
		return nil, err
	}
	out, err := t.acc.Final(0, n)
	if err != nil || n == len(idx) {
		return out, err
	}
	defer out.Release()
	return gather.Take(t.w.tc.Alloc, out, idx)
}

// begin gives n groups what all frames begin with.
func (t *frameTree) begin(n int) error {
	if t.prefix == nil {
		return nil
	}
	states, err := gather.Columns(t.w.tc.Alloc, t.prefix, make([]int32, n))
	if err != nil {
		return err
	}
	defer gather.Release(states)
	groups := make([]uint32, n)
	for i := range groups {
		groups[i] = uint32(i)
	}
	return t.acc.Merge(groups, states)
}

// add puts spans of a level's nodes into the groups of their numbers, in the
// order of the rows, on which some aggregates depend: the nodes before the wider
// ones inside, those, and the nodes behind them.
func (t *frameTree) add(acc expr.Accumulator, level int, spans []span) error {
	inner, up := make([]span, 0, len(spans)), make([]int32, len(spans))
	for i, s := range spans {
		in := span{(s.lo + fanout - 1) / fanout, s.hi / fanout}
		if up[i] = -1; level == len(t.levels) || in.lo >= in.hi {
			continue
		}
		if len(inner) == 0 || inner[len(inner)-1] != in {
			inner = append(inner, in)
		}
		up[i] = int32(len(inner) - 1)
	}
	var above []arrow.Array
	if len(inner) > 0 {
		var err error
		if above, err = t.states(level+1, inner); err != nil {
			return err
		}
		defer gather.Release(above)
	}
	if level > 0 { // only now: the wider nodes have used it
		acc.Reset()
		acc.Resize(len(spans))
	}
	t.clear()
	for i, s := range spans {
		if up[i] >= 0 {
			s.hi = inner[up[i]].lo * fanout
		}
		t.pick(level, i, s)
	}
	if err := t.flush(acc, level); err != nil || len(inner) == 0 {
		return err
	}
	t.clear()
	for i, at := range up {
		if at >= 0 {
			t.groups, t.picks = append(t.groups, uint32(i)), append(t.picks, at)
		}
	}
	if err := t.merge(acc, above); err != nil {
		return err
	}
	t.clear()
	for i, s := range spans {
		if up[i] >= 0 {
			t.pick(level, i, span{inner[up[i]].hi * fanout, s.hi})
		}
	}
	return t.flush(acc, level)
}

// states aggregates spans of nodes.
func (t *frameTree) states(level int, spans []span) ([]arrow.Array, error) {
	if err := t.add(t.nodes, level, spans); err != nil {
		return nil, err
	}
	return t.nodes.State(0, len(spans))
}

func (t *frameTree) clear() { t.groups, t.picks = t.groups[:0], t.picks[:0] }

// pick notes nodes of a level for a group.
func (t *frameTree) pick(level, group int, s span) {
	for i := s.lo; i < s.hi; i++ {
		if level > 0 || t.takes(i) {
			t.groups = append(t.groups, uint32(group))
			t.picks = append(t.picks, i)
		}
	}
}

// flush adds what pick has noted.
func (t *frameTree) flush(acc expr.Accumulator, level int) error {
	switch {
	case len(t.picks) == 0:
		return nil
	case level == 0:
		return acc.Update(t.groups, t.args, t.picks, t.w.n)
	}
	return t.merge(acc, t.levels[level-1])
}

// merge adds the states that are picked.
func (t *frameTree) merge(acc expr.Accumulator, states []arrow.Array) error {
	taken, err := gather.Columns(t.w.tc.Alloc, states, t.picks)
	if err != nil {
		return err
	}
	defer gather.Release(taken)
	return acc.Merge(t.groups, taken)
}
