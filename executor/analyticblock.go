package executor

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// load reads what the rows of a frame need, lets go of what no later one does, and
// returns the row behind what is at hand.
func (s *spool) load(f spooled) (end int, err error) {
	var need callReach
	for i := range s.calls {
		r := &s.calls[i].reach
		need.before, need.behind, need.peers = max(need.before, r.before), max(need.behind, r.behind), need.peers || r.peers
	}
	old := 0
	for old < len(s.cache) && int64(s.start+int(s.cache[old].rec.NumRows())) <= int64(f.first)-need.before {
		if err := s.pass(s.cache[old]); err != nil {
			return 0, err
		}
		old++
	}
	s.forget(old)
	end, next := f.first, s.at
	if n := len(s.cache); n > 0 {
		next = s.cache[n-1].number + 1
		end = s.frames[next-1].first + s.frames[next-1].rows
	} else {
		s.start = f.first
	}
	for last := int64(f.first+f.rows) + need.behind; next < len(s.frames); next++ {
		if int64(end) >= last && (!need.peers || s.marks[end]&startsPeers != 0) {
			break
		}
		rec, err := s.file.Read(s.frames[next].frame, s.a.tc.Alloc)
		if err != nil {
			return 0, err
		}
		s.cache = append(s.cache, spoolPage{number: next, rec: rec})
		end += s.frames[next].rows
	}
	return end, nil
}

// pass takes a page that comes before the rows at hand from now on.
func (s *spool) pass(p spoolPage) error {
	rows := int(p.rec.NumRows())
	cols := p.rec.Columns()[int(p.rec.NumCols())-s.a.used:]
	for i := range s.calls {
		if c := &s.calls[i]; c.reach.prefix {
			if err := c.add(cols, 0, rows); err != nil {
				return err
			}
		}
	}
	for _, m := range s.marks[s.start : s.start+rows] {
		s.rank.step(m)
	}
	s.start += rows
	return nil
}

// forget releases the first n pages.
func (s *spool) forget(n int) {
	for _, p := range s.cache[:n] {
		p.rec.Release()
	}
	s.cache = append(s.cache[:0], s.cache[n:]...)
}

// block is what is at hand, as if it were a partition.
func (s *spool) block(end int) (*analyticRows, error) {
	n := end - s.start
	b := &analyticRows{tc: s.a.tc, n: n, mem: &s.a.mem, held: int64(cap(s.marks) + len(s.a.marks)), marks: s.marks[s.start:end], rank: s.rank, parts: []int32{0, int32(n)}}
	for i, m := range b.marks {
		if i == 0 || m != 0 { // what comes before is another's business
			b.peers = append(b.peers, int32(i))
		}
	}
	b.peers = append(b.peers, int32(n))
	chunks := make([][]arrow.Array, len(s.cache))
	for i, p := range s.cache {
		chunks[i] = p.rec.Columns()[int(p.rec.NumCols())-s.a.used:]
	}
	var err error
	b.cols, err = concat(s.a.tc.Alloc, chunks)
	return b, err
}

// result computes a call for rows [from, to) of a block.
func (s *spool) result(c *spoolCall, b *analyticRows, from, to int) (arrow.Array, error) {
	call := c.in.call
	switch call.Kind {
	case expr.PercentRank, expr.CumeDist:
		return s.shares(b, call.Kind, from, to, call.DT), nil
	case expr.Ntile:
		return s.ntile(b, call.N, from, to, call.DT), nil
	case expr.NthValue:
		if c.reach.first {
			return s.firstValue(c, b, from, to)
		}
	case expr.WindowAggregate:
		if c.reach.whole {
			return s.wholeResult(c, to-from)
		}
		var prefix []arrow.Array
		if c.reach.prefix && s.start > 0 {
			var err error
			if prefix, err = c.before.State(0, 1); err != nil {
				return nil, err
			}
			defer gather.Release(prefix)
		}
		return b.aggregateRows(c.in, prefix, from, to)
	default:
	}
	all, err := b.evaluate(c.in)
	if err != nil {
		return nil, err
	}
	defer all.Release()
	return array.NewSlice(all, int64(from), int64(to)), nil
}

// wholeResult repeats the one result of the partition.
func (s *spool) wholeResult(c *spoolCall, n int) (arrow.Array, error) {
	if c.all == nil {
		var err error
		if c.all, err = c.before.Final(0, 1); err != nil {
			return nil, err
		}
	}
	return gather.Take(s.a.tc.Alloc, c.all, make([]int32, n))
}

// firstValue is the partition's first value wherever the frame has begun.
func (s *spool) firstValue(c *spoolCall, b *analyticRows, from, to int) (arrow.Array, error) {
	idx := make([]int32, to-from)
	if end := c.in.call.Frame.End; end.Kind == expr.Preceding {
		for i := range idx {
			if int64(s.start+from+i) < end.Offset {
				idx[i] = -1
			}
		}
	}
	return gather.Take(b.tc.Alloc, c.first, idx)
}

// shares are the ranks of rows as fractions of the partition.
func (s *spool) shares(b *analyticRows, kind expr.AnalyticKind, from, to int, dt arrow.DataType) arrow.Array {
	buf, out := vec.NewFixed[float64](b.tc.Alloc, to-from)
	at, behind := s.rank, 0 // behind is the end of the row's peers
	for i := range to {
		at.step(b.marks[i])
		if i < from {
			continue
		}
		if kind == expr.PercentRank {
			out[i-from] = float64(at.rank-1) / float64(max(s.rows()-1, 1))
			continue
		}
		if row := s.start + i; row >= behind {
			for behind = row + 1; behind < s.rows() && s.marks[behind]&startsPeers == 0; behind++ {
			}
		}
		out[i-from] = float64(behind) / float64(s.rows())
	}
	return vec.NewMask(b.tc.Alloc, to-from).Array(dt, buf)
}

// ntile is the bucket of each row.
func (s *spool) ntile(b *analyticRows, buckets int64, from, to int, dt arrow.DataType) arrow.Array {
	buf, out := vec.NewFixed[int32](b.tc.Alloc, to-from)
	for i := range out {
		out[i] = int32(bucketOf(int64(s.start+from+i), int64(s.rows()), buckets)) + 1
	}
	return vec.NewMask(b.tc.Alloc, to-from).Array(dt, buf)
}

// spills moves the partition at hand to disk if it is too much for memory.
func (a *analytic) spills() error {
	if !a.streams || a.tc.Spill == "" || a.held <= a.holdMax/8 {
		return nil
	}
	if short := a.tc.Pressure != nil && a.tc.Pressure(); !short && a.held <= a.holdMax {
		return nil
	}
	if err := a.compute(a.cut); err != nil {
		return err
	}
	var err error
	if a.spool, err = newSpool(a); err != nil {
		return fmt.Errorf("a window over a partition that does not fit into memory: %w", err)
	}
	return nil
}

// partitionBytesMax is how much of a partition is held before it goes to disk,
// however much memory there is.
const partitionBytesMax = 1 << 30

// holdMaxOf is that for a budget: computing takes three times as much for a moment.
func holdMaxOf(budget int64) int64 {
	if budget <= 0 {
		return partitionBytesMax
	}
	return min(budget/12, partitionBytesMax)
}

// follow puts the rows at hand behind those on disk, up to the partition's end.
func (a *analytic) follow() error {
	n := 0
	for n < len(a.marks) && a.marks[n]&startsPartition == 0 {
		n++
	}
	a.spool.done = n < len(a.marks)
	return a.spool.take(n)
}

// forget drops the first n rows at hand, results or not.
func (a *analytic) forget(n int) {
	left := n
	done := 0
	for i := range a.chunks {
		c := &a.chunks[i]
		size := int(c.rec.NumRows())
		if left < size {
			if left > 0 {
				a.cutChunk(c, left)
			}
			break
		}
		left -= size
		done++
	}
	a.dropChunks(done)
	rest := len(a.marks) - n
	copy(a.marks, a.marks[n:])
	a.marks, a.cut = a.marks[:rest], max(a.cut-n, 0)
}

// cutChunk drops the first rows of a chunk.
func (a *analytic) cutChunk(c *analyticChunk, rows int) {
	size := int(c.rec.NumRows())
	rest := analyticChunk{rec: c.rec.NewSlice(int64(rows), int64(size)), cols: sliced(c.cols, rows, size), bytes: c.bytes * int64(size-rows) / int64(size)}
	a.held += rest.bytes - c.bytes
	c.rec.Release()
	gather.Release(c.cols)
	*c = rest
}
