package executor

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// analyticRows are the rows of whole partitions, in order, and what the window
// functions over them share.
type analyticRows struct {
	tc *TaskContext
	n  int
	// parts and peers are where partitions and groups of peers start; the number
	// of rows ends both. A partition's start is a start of peers too.
	parts, peers []int32
	marks        []uint8
	rank         rankState     // before the first row, which may go on with a partition
	cols         []arrow.Array // what the calls use
	frames       []cachedFrame
	mem          *account
	held         int64 // charged to mem before
}

// cachedFrame is the frame of an earlier call.
type cachedFrame struct {
	text string
	f    *frames
}

func (w *analyticRows) release() { gather.Release(w.cols) }

// charge says how much is held besides Arrow's memory: positions, and what an accumulator has.
func (w *analyticRows) charge(acc int64) error {
	bytes := w.held + acc + 4*int64(len(w.parts)+len(w.peers))
	for _, c := range w.frames {
		bytes += c.f.bytes()
	}
	return w.mem.set(bytes)
}

// evaluate returns the column of one call.
func (w *analyticRows) evaluate(in *callInput) (arrow.Array, error) {
	c := in.call
	switch c.Kind {
	case expr.RowNumber, expr.Rank, expr.DenseRank:
		return w.ranks(c.Kind, c.DT), nil
	case expr.PercentRank, expr.CumeDist:
		return w.shares(c.Kind, c.DT), nil
	case expr.Ntile:
		return w.ntile(c.N, c.DT), nil
	case expr.Lag:
		return w.lag(in)
	case expr.NthValue:
		return w.nthValue(in)
	case expr.WindowAggregate:
		return w.aggregate(in)
	default:
		return nil, fmt.Errorf("no way to compute the window function %s", c.Kind)
	}
}

// column32 makes an INT column without NULLs.
func column32(w *analyticRows, dt arrow.DataType, fill func(out []int32)) arrow.Array {
	buf, out := vec.NewFixed[int32](w.tc.Alloc, w.n)
	fill(out)
	return vec.NewMask(w.tc.Alloc, w.n).Array(dt, buf)
}

// rankState is how far the numbering of a partition's rows has come.
type rankState struct{ rows, rank, dense int32 }

// step takes the next row, which starts what its mark says.
func (s *rankState) step(mark uint8) {
	if mark&startsPartition != 0 {
		*s = rankState{}
	}
	s.rows++
	if mark&startsPeers != 0 {
		s.rank = s.rows
		s.dense++
	}
}

// ranks numbers rows from 1: each row, groups of peers by their first row, or
// groups of peers without gaps.
func (w *analyticRows) ranks(kind expr.AnalyticKind, dt arrow.DataType) arrow.Array {
	return column32(w, dt, func(out []int32) {
		at := w.rank
		for i, m := range w.marks {
			at.step(m)
			switch kind {
			case expr.Rank:
				out[i] = at.rank
			case expr.DenseRank:
				out[i] = at.dense
			default:
				out[i] = at.rows
			}
		}
	})
}

// shares are the ranks as fractions of the partition.
func (w *analyticRows) shares(kind expr.AnalyticKind, dt arrow.DataType) arrow.Array {
	buf, out := vec.NewFixed[float64](w.tc.Alloc, w.n)
	part := -1
	for g := range len(w.peers) - 1 {
		first, end := w.peers[g], w.peers[g+1]
		if first == w.parts[part+1] {
			part++
		}
		from, rows := w.parts[part], w.parts[part+1]-w.parts[part]
		v := float64(end-from) / float64(rows)
		if kind == expr.PercentRank {
			v = float64(first-from) / float64(max(rows-1, 1))
		}
		for i := first; i < end; i++ {
			out[i] = v
		}
	}
	return vec.NewMask(w.tc.Alloc, w.n).Array(dt, buf)
}

// ntile deals the rows of a partition out to buckets; the first ones get one
// more where they do not come out even.
func (w *analyticRows) ntile(buckets int64, dt arrow.DataType) arrow.Array {
	return column32(w, dt, func(out []int32) {
		for p := range len(w.parts) - 1 {
			first, rows := w.parts[p], int64(w.parts[p+1]-w.parts[p])
			for r := range rows {
				out[int64(first)+r] = int32(bucketOf(r, rows, buckets)) + 1
			}
		}
	})
}

// bucketOf deals row r of rows out.
func bucketOf(r, rows, buckets int64) int64 {
	size, larger := rows/buckets, rows%buckets
	if edge := larger * (size + 1); r >= edge {
		return larger + (r-edge)/size
	}
	return r / (size + 1)
}

// present lists the rows where a column is not NULL and, for each row, how many
// of them come before it.
func present(arr arrow.Array) (rows, before []int32) {
	n := arr.Len()
	before = make([]int32, n+1)
	for i := range n {
		before[i] = int32(len(rows))
		if !vec.IsNull(arr, i) {
			rows = append(rows, int32(i))
		}
	}
	before[n] = int32(len(rows))
	return rows, before
}

// lag takes the value of a row at a distance, or the default where the
// partition has no such row.
func (w *analyticRows) lag(in *callInput) (arrow.Array, error) {
	arr, idx := w.cols[in.args[0]], make([]int32, w.n)
	if err := w.charge(12 * int64(w.n)); err != nil {
		return nil, err
	}
	off := in.call.N
	rows, before := []int32(nil), []int32(nil)
	if in.call.IgnoreNulls && off != 0 {
		rows, before = present(arr)
	}
	missing := false
	for p := range len(w.parts) - 1 {
		s, e := int64(w.parts[p]), int64(w.parts[p+1])
		for i := s; i < e; i++ {
			at := i - off
			if before != nil {
				at = nextPresent(rows, before, i, off)
			}
			if at < s || at >= e {
				at, missing = -1, true
			}
			idx[i] = int32(at)
		}
	}
	if !missing || len(in.args) == 1 {
		return gather.Take(w.tc.Alloc, arr, idx)
	}
	from := make([]int32, w.n)
	for i, at := range idx {
		if at < 0 {
			from[i], idx[i] = 1, int32(i)
		}
	}
	return vec.Interleave(w.tc.Alloc, arr.DataType(), []vec.Part{{Arr: arr}, {Arr: w.cols[in.args[1]]}}, from, idx)
}

// nextPresent is the off-th row that is not NULL before row i, or behind it if
// off is below zero; -1 if there is none.
func nextPresent(rows, before []int32, i, off int64) int64 {
	at := int64(before[i]) - off
	if off < 0 { // the first behind is number before[i+1]
		at = int64(before[i+1]) - off - 1
	}
	if at < 0 || at >= int64(len(rows)) {
		return -1
	}
	return int64(rows[at])
}

// nthValue takes the value of the n-th row of the frame, from its end if n is
// below zero.
func (w *analyticRows) nthValue(in *callInput) (arrow.Array, error) {
	f, err := w.frame(in)
	if err != nil {
		return nil, err
	}
	arr, idx := w.cols[in.args[0]], make([]int32, w.n)
	if err := w.charge(12 * int64(w.n)); err != nil {
		return nil, err
	}
	rows, before := []int32(nil), []int32(nil)
	if in.call.IgnoreNulls && arr.NullN() > 0 {
		rows, before = present(arr)
	}
	for i := range idx {
		idx[i] = nthOf(f.spans(i), in.call.N, rows, before)
	}
	return gather.Take(w.tc.Alloc, arr, idx)
}

// nthOf finds the n-th row of some spans, or of those among rows; -1 if they are fewer.
func nthOf(spans [3]span, n int64, rows, before []int32) int32 {
	var left [3]int64
	var sum int64
	for k, s := range spans {
		left[k] = int64(s.hi - s.lo)
		if before != nil {
			left[k] = int64(before[s.hi] - before[s.lo])
		}
		sum += left[k]
	}
	if n--; n < 0 {
		n += sum + 1 // -1 had become -2
	}
	if n < 0 || n >= sum {
		return -1
	}
	for k, s := range spans {
		if n >= left[k] {
			n -= left[k]
			continue
		}
		if before != nil {
			return rows[int64(before[s.lo])+n]
		}
		return s.lo + int32(n)
	}
	return -1
}

func sliced(cols []arrow.Array, from, to int) []arrow.Array {
	out := make([]arrow.Array, len(cols))
	for i, c := range cols {
		out[i] = array.NewSlice(c, int64(from), int64(to))
	}
	return out
}
