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
	// shorter than that are aggregated row by row.
	fanout = 16
	// frameRows is how many frames are aggregated together.
	frameRows = 4096
	// frameValues bounds the rows in frames that are aggregated together where
	// results grow with them, as lists do.
	frameValues = 1 << 20
)

// frameTree aggregates frames with a tree of partial results: a node is what
// fanout nodes below it come to, the lowest of them rows. A frame of m rows is
// made of O(log m) nodes, whatever the aggregate; taking rows back instead
// would serve a few aggregates only, and sums of floats would not be exact. All
// frames of a batch go up and down the tree together, a level at a time, so
// that accumulators are called with many rows.
type frameTree struct {
	w      *analyticRows
	agg    *expr.AggCall
	args   []expr.Vec
	filter *array.Boolean // nil for all rows
	acc    expr.Accumulator
	levels [][]arrow.Array // states of the nodes of fanout, fanout^2, .. rows
	ends   []frameEnds
	groups []uint32
	picks  []int32
}

// frameEnds is what is left of a frame at one level, as nodes of the level.
type frameEnds struct{ lo, hi, right int32 }

// aggregate computes an aggregate over the frames.
func (w *analyticRows) aggregate(in *callInput) (arrow.Array, error) {
	acc := in.call.Agg.Func.New(w.tc.Alloc)
	defer acc.Release()
	t := &frameTree{w: w, agg: in.call.Agg, args: vecs(w.cols, in.args), acc: acc}
	defer t.release()
	if in.filter >= 0 {
		var ok bool
		if t.filter, ok = w.cols[in.filter].(*array.Boolean); !ok {
			return nil, fmt.Errorf("the filter is a %s", w.cols[in.filter].DataType())
		}
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
	if err := t.build(longest); err != nil {
		return nil, err
	}
	return t.results(f)
}

func (t *frameTree) release() {
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
		if t.filter == nil || t.takes(i) {
			t.groups = append(t.groups, groupOf(i))
			t.picks = append(t.picks, i)
		}
	}
	if err := t.flush(0); err != nil {
		return err
	}
	return t.w.charge(t.acc.Bytes() + 8*int64(cap(t.groups)))
}

func (t *frameTree) takes(i int32) bool { return t.filter.IsValid(int(i)) && t.filter.Value(int(i)) }

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
func (t *frameTree) results(f *frames) (arrow.Array, error) {
	grows := false
	for _, dt := range t.agg.Func.State {
		grows = grows || rowkey.Width(dt) == 0 && dt.ID() != arrow.DECIMAL128
	}
	var parts []arrow.Array
	defer func() { gather.Release(parts) }()
	for from := 0; from < t.w.n; {
		to, values := from, int64(0)
		for to < t.w.n && to-from < frameRows && (to == from || !grows || values < frameValues) {
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
	spans := 1
	if f.exclude != expr.ExcludeNone {
		spans = 3
	}
	for k := range spans {
		if err := t.descend(distinct, k); err != nil {
			return nil, err
		}
	}
	if err := t.w.charge(t.acc.Bytes() + 8*int64(cap(t.groups)+len(t.levels)*len(distinct))); err != nil {
		return nil, err
	}
	out, err := t.acc.Final(0, len(distinct))
	if err != nil || len(distinct) == len(idx) {
		return out, err
	}
	defer out.Release()
	return gather.Take(t.w.tc.Alloc, out, idx)
}

// descend adds one span of each frame to its group: from the left the rows and
// nodes on the way up to the widest that fit, then those on the way down to the
// right end, which is the order of the rows, on which some aggregates depend.
func (t *frameTree) descend(distinct [][3]span, k int) error {
	g := len(distinct)
	if need := g * (len(t.levels) + 1); cap(t.ends) < need {
		t.ends = make([]frameEnds, need)
	}
	for i, s := range distinct {
		t.ends[i] = frameEnds{lo: s[k].lo, hi: s[k].hi}
	}
	top := len(t.levels)
	for level := range top {
		here, next := t.ends[level*g:(level+1)*g], t.ends[(level+1)*g:(level+2)*g]
		t.groups, t.picks = t.groups[:0], t.picks[:0]
		for i := range here {
			e := &here[i]
			lo, hi := (e.lo+fanout-1)/fanout, e.hi/fanout
			if lo >= hi { // no node above lies inside: all of it is taken here
				t.pick(level, i, e.lo, e.hi)
				e.right = e.hi
				next[i] = frameEnds{}
				continue
			}
			t.pick(level, i, e.lo, lo*fanout)
			e.right = hi * fanout
			next[i] = frameEnds{lo: lo, hi: hi}
		}
		if err := t.flush(level); err != nil {
			return err
		}
	}
	last := t.ends[top*g : (top+1)*g]
	for i := range last {
		last[i].right = last[i].lo
	}
	for level := top; level >= 0; level-- {
		t.groups, t.picks = t.groups[:0], t.picks[:0]
		for i, e := range t.ends[level*g : (level+1)*g] {
			t.pick(level, i, e.right, e.hi)
		}
		if err := t.flush(level); err != nil {
			return err
		}
	}
	return nil
}

// pick notes nodes of a level for a group.
func (t *frameTree) pick(level, group int, from, to int32) {
	for i := from; i < to; i++ {
		if level > 0 || t.filter == nil || t.takes(i) {
			t.groups = append(t.groups, uint32(group))
			t.picks = append(t.picks, i)
		}
	}
}

// flush adds what pick has noted.
func (t *frameTree) flush(level int) error {
	if len(t.picks) == 0 {
		return nil
	}
	if level == 0 {
		return t.acc.Update(t.groups, t.args, t.picks, t.w.n)
	}
	states, err := gather.Columns(t.w.tc.Alloc, t.levels[level-1], t.picks)
	if err != nil {
		return err
	}
	defer gather.Release(states)
	return t.acc.Merge(t.groups, states)
}
