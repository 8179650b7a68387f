package executor

import (
	"cmp"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// span is the rows [lo, hi).
type span struct{ lo, hi int32 }

// frames are the frame of each row: rows [lo, hi), less what exclude says.
type frames struct {
	lo, hi         []int32
	exclude        expr.Exclusion
	peerLo, peerHi []int32 // of the row's peers; nil unless they are excluded
}

func (f *frames) bytes() int64 { return 4 * int64(len(f.lo)+len(f.hi)+len(f.peerLo)+len(f.peerHi)) }

// spans returns what the frame of row i is made of; spans that are not needed are empty.
func (f *frames) spans(i int) [3]span {
	lo, hi := f.lo[i], f.hi[i]
	cutLo, cutHi := int32(i), int32(i)+1
	switch f.exclude {
	case expr.ExcludeNone:
		return [3]span{{lo, hi}}
	case expr.ExcludeCurrent:
	case expr.ExcludeGroup, expr.ExcludeTies:
		cutLo, cutHi = f.peerLo[i], f.peerHi[i]
	}
	out := [3]span{{lo, max(lo, min(hi, cutLo))}, {}, {min(hi, max(lo, cutHi)), hi}}
	if f.exclude == expr.ExcludeTies && int32(i) >= lo && int32(i) < hi {
		out[1] = span{int32(i), int32(i) + 1}
	}
	return out
}

// frame computes the frames of a call, or finds those of an earlier one that are the same.
func (w *analyticRows) frame(in *callInput) (*frames, error) {
	fr := &in.call.Frame
	text := fr.String()
	for _, c := range w.frames {
		if c.text == text {
			return c.f, nil
		}
	}
	f := &frames{lo: make([]int32, w.n), hi: make([]int32, w.n), exclude: fr.Exclude}
	if err := w.bound(fr, in, false, f.lo); err != nil {
		return nil, err
	}
	if err := w.bound(fr, in, true, f.hi); err != nil {
		return nil, err
	}
	for i, lo := range f.lo {
		f.hi[i] = max(f.hi[i], lo)
	}
	if fr.Exclude == expr.ExcludeGroup || fr.Exclude == expr.ExcludeTies {
		f.peerLo, f.peerHi = make([]int32, w.n), make([]int32, w.n)
		w.groupBound(0, false, f.peerLo)
		w.groupBound(0, true, f.peerHi)
	}
	w.frames = append(w.frames, cachedFrame{text: text, f: f})
	return f, w.charge(0)
}

// bound fills in where the frames start or, with end, the row behind them.
func (w *analyticRows) bound(fr *expr.Frame, in *callInput, end bool, out []int32) error {
	b, value := fr.Start, in.start
	if end {
		b, value = fr.End, in.end
	}
	shift := int64(0)
	switch far := min(b.Offset, 1<<32); b.Kind { // no partition is as long
	case expr.Preceding:
		shift = -far
	case expr.Following:
		shift = far
	case expr.CurrentRow, expr.UnboundedPreceding, expr.UnboundedFollowing:
	}
	switch {
	case b.Kind == expr.UnboundedPreceding || b.Kind == expr.UnboundedFollowing:
		last := 0
		if b.Kind == expr.UnboundedFollowing {
			last = 1
		}
		for p := range len(w.parts) - 1 {
			for i := w.parts[p]; i < w.parts[p+1]; i++ {
				out[i] = w.parts[p+last]
			}
		}
	case fr.Unit != expr.FrameRange && value >= 0:
		return w.ownBound(fr.Unit, b.Kind, w.cols[value], end, out)
	case fr.Unit == expr.FrameRows:
		w.rowBound(shift, end, out)
	case fr.Unit == expr.FrameRange && value >= 0:
		w.rangeBound(fr, b.Kind, w.cols[in.key], w.cols[value], end, out)
	default: // the row's peers, or groups of peers before or behind them
		w.groupBound(shift, end, out)
	}
	return nil
}

// ownBound is rowBound or groupBound where each row has a distance of its own.
func (w *analyticRows) ownBound(unit expr.FrameUnit, kind expr.BoundKind, far arrow.Array, end bool, out []int32) error {
	distances := vec.Values[int64](far)
	more := int64(0)
	if end {
		more = 1
	}
	group := 0 // of the row
	for p := range len(w.parts) - 1 {
		s, e, first, last := int64(w.parts[p]), int64(w.parts[p+1]), group, group
		for w.peers[last] < w.parts[p+1] {
			last++
		}
		for i := s; i < e; i++ {
			if far.IsNull(int(i)) || distances[i] < 0 {
				return batch.UserErrorf("[INVALID_PARAMETER_VALUE] the offset of a window frame is NULL or below zero")
			}
			for w.peers[group+1] <= int32(i) {
				group++
			}
			shift := min(distances[i], 1<<32)
			if kind == expr.Preceding {
				shift = -shift
			}
			if unit == expr.FrameGroups {
				out[i] = w.peers[min(max(int64(group)+shift+more, int64(first)), int64(last))]
				continue
			}
			out[i] = int32(min(max(i+shift+more, s), e))
		}
		group = last
	}
	return nil
}

func (w *analyticRows) rowBound(shift int64, end bool, out []int32) {
	if end {
		shift++
	}
	for p := range len(w.parts) - 1 {
		s, e := int64(w.parts[p]), int64(w.parts[p+1])
		for i := s; i < e; i++ {
			out[i] = int32(min(max(i+shift, s), e))
		}
	}
}

func (w *analyticRows) groupBound(shift int64, end bool, out []int32) {
	if end {
		shift++
	}
	group := 0
	for p := range len(w.parts) - 1 {
		first := group
		for w.peers[group] < w.parts[p+1] {
			group++
		}
		for g := first; g < group; g++ {
			at := w.peers[min(max(int64(g)+shift, int64(first)), int64(group))]
			for i := w.peers[g]; i < w.peers[g+1]; i++ {
				out[i] = at
			}
		}
	}
}

// rangeBound looks for the values of a bound among the order keys. Rows whose
// key is NULL have each other for a frame; those of others never reach them.
// The position moves with the rows: mostly on, and back where adding months to
// the ends of months goes back.
func (w *analyticRows) rangeBound(fr *expr.Frame, kind expr.BoundKind, keys, values arrow.Array, end bool, out []int32) {
	compare := comparing(keys, values)
	reach := 0 // a key that compares as high is still before the place looked for
	if end {
		reach = 1
	}
	sign := 1
	if fr.Desc {
		sign = -1
	}
	for p := range len(w.parts) - 1 {
		s, e := int(w.parts[p]), int(w.parts[p+1])
		first, behind := s, e // the rows with a key
		for first < e && vec.IsNull(keys, first) {
			first++
		}
		for behind > first && vec.IsNull(keys, behind-1) {
			behind--
		}
		at := first
		for i := s; i < e; i++ {
			switch {
			case i < first:
				out[i] = int32(s + reach*(first-s))
				continue
			case i >= behind:
				out[i] = int32(behind + reach*(e-behind))
				continue
			case vec.IsNull(values, i) && kind == expr.Preceding:
				out[i] = int32(first)
				continue
			case vec.IsNull(values, i):
				out[i] = int32(behind)
				continue
			}
			for at < behind && sign*compare(at, i) < reach {
				at++
			}
			for at > first && sign*compare(at-1, i) >= reach {
				at--
			}
			out[i] = int32(at)
		}
	}
}

// comparing returns how rows of two columns of one type compare: -1, 0 or 1.
func comparing(a, b arrow.Array) func(i, j int) int {
	switch a.DataType().ID() {
	case arrow.INT64, arrow.TIMESTAMP, arrow.DURATION:
		return comparingValues[int64](a, b)
	case arrow.INT32, arrow.DATE32, arrow.INTERVAL_MONTHS:
		return comparingValues[int32](a, b)
	case arrow.FLOAT64:
		x, y := vec.Values[float64](a), vec.Values[float64](b)
		return func(i, j int) int { return vec.CompareFloat(x[i], y[j]) }
	}
	return func(i, j int) int { return vec.Compare(a, i, b, j) }
}

func comparingValues[T int32 | int64](a, b arrow.Array) func(i, j int) int {
	x, y := vec.Values[T](a), vec.Values[T](b)
	return func(i, j int) int { return cmp.Compare(x[i], y[j]) }
}
