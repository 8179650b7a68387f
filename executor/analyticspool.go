package executor

import (
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/exchange"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/expr"
)

// reachMax is how many rows around a row a call may look at when its partition is
// on disk: those are in memory together.
const reachMax = 1 << 20

// spool is a partition that is larger than memory. Its rows go to a file, each
// batch with the columns that the calls use, and come back batch by batch. A row's
// frame is cut into what comes before the batches at hand, of which each
// aggregate keeps one partial result, and what is in them. Calls that need more
// than that (see reachOf) keep their partition in memory as before.
type spool struct {
	a      *analytic
	file   *exchange.File
	frames []spooled
	marks  []uint8
	done   bool // the partition has ended

	calls []spoolCall
	at    int         // frame to hand out next
	cache []spoolPage // frames from the first that is still needed
	start int         // first row of cache
	rank  rankState   // before start
}

// spooled is a batch in the file.
type spooled struct {
	frame       exchange.Frame
	first, rows int
}

// spoolPage is one that was read back.
type spoolPage struct {
	number int
	rec    arrow.RecordBatch
}

// spoolCall is what a call needs besides the rows at hand.
type spoolCall struct {
	in     *callInput
	reach  callReach
	before expr.Accumulator // of the rows before cache, or of all
	all    arrow.Array      // the one result of a frame that is the whole partition
	first  arrow.Array      // the partition's first value
}

// callReach is which rows a call needs to compute a row.
type callReach struct {
	before, behind int64 // rows before and behind it
	peers          bool  // and the last of its peers
	whole          bool  // all of them, for one result
	prefix         bool  // a partial result of all that come before
	first          bool  // the partition's first row
}

// reachOf reports what a call needs, and whether that is less than all its partition's rows.
func reachOf(in *callInput) (r callReach, ok bool) {
	c := in.call
	switch c.Kind {
	case expr.RowNumber, expr.Rank, expr.DenseRank, expr.PercentRank, expr.CumeDist, expr.Ntile:
		return r, true
	case expr.Lag:
		r.before, r.behind = max(c.N, 0), max(-c.N, 0)
		return r, !c.IgnoreNulls && r.before <= reachMax && r.behind <= reachMax
	case expr.NthValue:
		if c.IgnoreNulls || c.N < -reachMax {
			return r, false
		}
	case expr.WindowAggregate:
		if c.Agg.Distinct || len(c.Agg.OrderBy) > 0 {
			return r, false
		}
		if c.Frame.Whole() {
			return callReach{whole: true}, true
		}
	default:
		return r, false
	}
	f := &c.Frame
	if f.Exclude != expr.ExcludeNone || !bounded(f.Unit, f.End, &r) {
		return r, false
	}
	if f.Start.Kind != expr.UnboundedPreceding {
		return r, f.Unit == expr.FrameRows && bounded(f.Unit, f.Start, &r) && r.before <= reachMax && r.behind <= reachMax
	}
	switch {
	case c.Kind == expr.WindowAggregate:
		r.prefix = true
	case c.N == 1:
		r.first = true
	case c.N < 0:
		r.before -= c.N
	default:
		return r, false
	}
	return r, r.before <= reachMax && r.behind <= reachMax
}

// bounded adds the rows between a row and a bound of its frame.
func bounded(unit expr.FrameUnit, b expr.FrameBound, r *callReach) bool {
	switch b.Kind {
	case expr.CurrentRow:
		r.peers = r.peers || unit != expr.FrameRows
		return true
	case expr.Preceding:
		r.before = max(r.before, min(b.Offset, reachMax+1))
	case expr.Following:
		r.behind = max(r.behind, min(b.Offset, reachMax+1))
	case expr.UnboundedPreceding, expr.UnboundedFollowing:
		return false
	}
	return unit == expr.FrameRows && b.Value == nil
}

// newSpool moves the partition at hand, which is all of a's chunks, to a file.
func newSpool(a *analytic) (*spool, error) {
	s := &spool{a: a}
	for i := range a.inputs {
		in := &a.inputs[i]
		r, _ := reachOf(in)
		c := spoolCall{in: in, reach: r}
		if r.whole || r.prefix {
			c.before = in.call.Agg.Func.New(a.tc.Alloc)
			c.before.Resize(1)
		}
		s.calls = append(s.calls, c)
	}
	var err error
	if s.file, err = exchange.CreateFile(a.tc.Spill, "window-*"); err != nil {
		s.close()
		return nil, err
	}
	if err := s.take(len(a.marks)); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *spool) close() {
	s.forget(len(s.cache))
	for i := range s.calls {
		c := &s.calls[i]
		if c.before != nil {
			c.before.Release()
		}
		gather.Release([]arrow.Array{c.all, c.first})
		c.before, c.all, c.first = nil, nil, nil
	}
	if s.file != nil {
		s.file.Remove()
		s.file = nil
	}
}

// take moves the first n rows at hand to the file.
func (s *spool) take(n int) error {
	a := s.a
	left := n
	for i := range a.chunks {
		c := &a.chunks[i]
		size := int(c.rec.NumRows())
		rows := min(size, left)
		if rows == 0 {
			break
		}
		for from := 0; from < rows; from += a.pageRows {
			if err := s.write(c, from, min(from+a.pageRows, rows)); err != nil {
				return fmt.Errorf("spill %d rows of a window's partition: %w", rows, err)
			}
		}
		left -= rows
	}
	s.marks = append(s.marks, a.marks[:n]...)
	a.forget(n)
	return a.mem.set(int64(cap(s.marks) + len(a.marks)))
}

// write puts rows [from, to) of a chunk into the file.
func (s *spool) write(c *analyticChunk, from, to int) error {
	rows := to - from
	cols := append(sliced(c.rec.Columns(), from, to), sliced(c.cols, from, to)...)
	fields := append([]arrow.Field{}, c.rec.Schema().Fields()...)
	for _, col := range c.cols {
		fields = append(fields, arrow.Field{Type: col.DataType(), Nullable: true})
	}
	rec := newBatch(arrow.NewSchema(fields, nil), cols, rows)
	defer rec.Release()
	frame, err := s.file.Append(rec, s.a.tc.Alloc)
	if err != nil {
		return err
	}
	first := 0
	if n := len(s.frames); n > 0 {
		first = s.frames[n-1].first + s.frames[n-1].rows
	}
	s.frames = append(s.frames, spooled{frame: frame, first: first, rows: rows})
	for i := range s.calls {
		call := &s.calls[i]
		if call.reach.whole {
			if err := call.add(c.cols, from, to); err != nil {
				return err
			}
		}
		if call.reach.first && first == 0 {
			if call.first, err = gather.Take(s.a.tc.Alloc, c.cols[call.in.args[0]], []int32{int32(from)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// add takes rows [from, to) of some columns into the partial result.
func (c *spoolCall) add(cols []arrow.Array, from, to int) error {
	var filter *array.Boolean
	if c.in.filter >= 0 {
		var ok bool
		if filter, ok = cols[c.in.filter].(*array.Boolean); !ok {
			return fmt.Errorf("the filter is a %s", cols[c.in.filter].DataType())
		}
	}
	sel := make([]int32, 0, to-from)
	for i := from; i < to; i++ {
		if filter == nil || filter.IsValid(i) && filter.Value(i) {
			sel = append(sel, int32(i))
		}
	}
	if len(sel) == 0 {
		return nil
	}
	return c.before.Update(make([]uint32, len(sel)), vecs(cols, c.in.args), sel, to)
}

// rows is how many the partition has.
func (s *spool) rows() int { return len(s.marks) }

// next returns the next batch with its results, io.EOF behind the last.
func (s *spool) next() (arrow.RecordBatch, error) {
	if s.at == len(s.frames) {
		return nil, io.EOF
	}
	f := s.frames[s.at]
	end, err := s.load(f)
	if err != nil {
		return nil, err
	}
	block, err := s.block(end)
	if err != nil {
		return nil, err
	}
	defer block.release()
	var results []arrow.Array
	defer func() { gather.Release(results) }()
	from, to := f.first-s.start, f.first-s.start+f.rows
	for i := range s.calls {
		r, err := s.result(&s.calls[i], block, from, to)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.calls[i].in.call, err)
		}
		results = append(results, r)
	}
	rec := s.cache[s.at-s.cache[0].number].rec
	width := int(rec.NumCols()) - s.a.used
	cols := append(sliced(rec.Columns()[:width], 0, f.rows), sliced(results, 0, f.rows)...)
	s.at++
	return newBatch(s.a.Schema(), cols, f.rows), nil
}
