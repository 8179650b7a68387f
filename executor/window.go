package executor

import (
	"context"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// window appends the windows that each row lies in; a row without a time lies in none.
type window struct {
	base
	n    *physical.Window
	time *computed

	rows         []int32 // positions in the input, nil while they are 0..n-1
	starts, ends []int64
}

// maxWindows bounds how many windows one row may lie in.
const maxWindows = 100_000

func newWindow(n *physical.Window, in Operator) (*window, error) {
	slide := n.Slide
	if n.Kind == logical.Tumble {
		slide = n.Size
	}
	if n.Size <= 0 || slide <= 0 || n.Size/slide > maxWindows {
		return nil, batch.UserErrorf("%s: size and slide must be positive, and a row may lie in at most %d windows", n, maxWindows)
	}
	if n.Kind == logical.Cumulate && n.Size%slide != 0 {
		return nil, batch.UserErrorf("%s: the size must be a multiple of the step", n)
	}
	t, err := newComputed([]expr.Expr{n.Time}, in.Schema())
	if err != nil {
		return nil, err
	}
	return &window{base: base{node: n, in: []Operator{in}}, n: n, time: t}, nil
}

func (w *window) Open(ctx context.Context, tc *TaskContext) error {
	w.time.open(tc)
	return w.base.Open(ctx, tc)
}

func (w *window) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for {
		rec, err := w.in[0].Next(ctx)
		if err != nil {
			return nil, err
		}
		out, err := w.apply(rec)
		rec.Release()
		if err != nil || out != nil {
			return out, err
		}
	}
}

func (w *window) apply(rec arrow.RecordBatch) (arrow.RecordBatch, error) {
	cols, err := w.time.run(rec)
	if err != nil {
		return nil, err
	}
	defer gather.Release(cols)
	times, err := timesIn(w, cols)
	if err != nil {
		return nil, err
	}
	w.starts, w.ends, w.rows = w.starts[:0], w.ends[:0], w.rows[:0]
	if w.n.Kind == logical.Tumble {
		err = w.tumble(times)
	} else {
		err = w.expand(times)
	}
	if err != nil || len(w.starts) == 0 {
		return nil, err
	}
	return w.output(rec)
}

// floor returns the latest multiple of step (counted from offset) at or before t.
func floor(t, step, offset int64) int64 {
	m := (t - offset) % step
	if m < 0 {
		m += step
	}
	return t - m
}

// timeRange keeps window bounds inside int64: 200,000 years around 1970 either way.
const timeRange = math.MaxInt64 / 2

func checkTime(t int64) error {
	if t > timeRange || t < -timeRange {
		return batch.UserErrorf("event time %d microseconds since 1970 is out of range for a window", t)
	}
	return nil
}

// tumble reuses the window of the row before: times mostly come in order.
func (w *window) tumble(times *array.Timestamp) error {
	size := w.n.Size
	start, end := int64(0), int64(0)
	nulls := times.NullN() > 0
	for i, v := range times.TimestampValues() {
		t := int64(v)
		if nulls {
			if times.IsNull(i) {
				continue
			}
			w.rows = append(w.rows, int32(i))
		}
		if t < start || t >= end {
			if err := checkTime(t); err != nil {
				return err
			}
			start = floor(t, size, w.n.Offset)
			end = start + size
		}
		w.starts, w.ends = append(w.starts, start), append(w.ends, end)
	}
	return nil
}

// expand lists the windows of each row, the earliest first.
func (w *window) expand(times *array.Timestamp) error {
	size, slide := w.n.Size, w.n.Slide
	for i, v := range times.TimestampValues() {
		if times.IsNull(i) {
			continue
		}
		t := int64(v)
		if err := checkTime(t); err != nil {
			return err
		}
		if w.n.Kind == logical.Cumulate {
			start := floor(t, size, w.n.Offset)
			for end := start + (t-start)/slide*slide + slide; end <= start+size; end += slide {
				w.add(i, start, end)
			}
			continue
		}
		last := floor(t, slide, w.n.Offset)
		first := last - (size-1)/slide*slide
		for start := first; start <= last; start += slide {
			if start+size > t {
				w.add(i, start, start+size)
			}
		}
	}
	return nil
}

func (w *window) add(row int, start, end int64) {
	w.rows = append(w.rows, int32(row))
	w.starts, w.ends = append(w.starts, start), append(w.ends, end)
}

func (w *window) output(rec arrow.RecordBatch) (arrow.RecordBatch, error) {
	cols := make([]arrow.Array, 0, rec.NumCols()+3)
	if len(w.rows) == 0 { // every row once
		for _, c := range rec.Columns() {
			c.Retain()
			cols = append(cols, c)
		}
	} else {
		var err error
		if cols, err = gather.Columns(w.tc.Alloc, rec.Columns(), w.rows); err != nil {
			return nil, err
		}
	}
	dt := w.n.Time.Type()
	cols = append(cols, int64Column(w.tc.Alloc, dt, w.starts, 0), int64Column(w.tc.Alloc, dt, w.ends, 0),
		int64Column(w.tc.Alloc, dt, w.ends, -1))
	return newBatch(w.n.Out, cols, len(w.starts)), nil
}

// int64Column copies numbers, each plus add, into a column of a 64-bit type.
func int64Column(alloc memory.Allocator, dt arrow.DataType, vs []int64, add int64) arrow.Array {
	buf := memory.NewResizableBuffer(alloc)
	defer buf.Release()
	buf.Resize(8 * len(vs))
	dst := arrow.Int64Traits.CastFromBytes(buf.Bytes())
	for i, v := range vs {
		dst[i] = v + add
	}
	data := array.NewData(dt, len(vs), []*memory.Buffer{nil, buf}, nil, 0, 0)
	defer data.Release()
	return array.MakeFromData(data)
}
