package executor

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/eval"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// filter keeps the rows for which a condition is true.
type filter struct {
	base
	cond *eval.Predicate
	kc   expr.KernelContext
	keep []int32
	src  *scan   // right below, with the same conditions; or nil
	bad  int64   // rows for which the condition cannot be computed
	fit  []int32 // of the batch in hand, those for which it can; nil for all
}

func newFilter(n *physical.Filter, in Operator) (*filter, error) {
	cond, err := eval.NewPredicate(n.Cond, in.Schema())
	if err != nil {
		return nil, err
	}
	return &filter{base: base{node: n, in: []Operator{in}}, cond: cond, src: applied(n, in)}, nil
}

func (f *filter) Open(ctx context.Context, tc *TaskContext) error {
	f.kc, f.bad = kernelContext(tc), 0
	return f.base.Open(ctx, tc)
}

func (f *filter) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for {
		rec, err := f.in[0].Next(ctx)
		if err != nil {
			return nil, err
		}
		if f.src != nil && f.src.exact {
			return rec, nil
		}
		f.fit = nil
		out, err := f.apply(rec)
		if err != nil && f.tc.unfit.takes(err) {
			out, err = f.applyFit(rec)
		}
		rec.Release()
		if err != nil || out != nil {
			return out, err
		}
	}
}

// applyFit is apply without the rows whose condition cannot be computed.
func (f *filter) applyFit(rec arrow.RecordBatch) (arrow.RecordBatch, error) {
	fit, keep, err := f.tc.unfit.pick(f.tc, traced(f.in[0]), rec, func(rec arrow.RecordBatch) error {
		_, err := f.cond.Select(&f.kc, rec, nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer fit.Release()
	f.fit = keep
	if !f.tc.unfit.null {
		f.bad += rec.NumRows() - fit.NumRows()
	}
	return f.apply(fit)
}

// apply returns nil if no row is left.
func (f *filter) apply(rec arrow.RecordBatch) (arrow.RecordBatch, error) {
	keep, err := f.cond.Select(&f.kc, rec, f.keep)
	if err != nil {
		return nil, err
	}
	f.keep = keep
	f.kc.RowBase += rec.NumRows()
	return keepRows(f.tc, rec, f.keep)
}

// keepRows returns rec itself if all rows stay, and nil if none does.
func keepRows(tc *TaskContext, rec arrow.RecordBatch, keep []int32) (arrow.RecordBatch, error) {
	switch len(keep) {
	case int(rec.NumRows()):
		rec.Retain()
		return rec, nil
	case 0:
		return nil, nil
	}
	if first, last := keep[0], keep[len(keep)-1]; int(last-first)+1 == len(keep) {
		return rec.NewSlice(int64(first), int64(last)+1), nil
	}
	return gather.Batch(tc.Alloc, rec, keep)
}

// project computes columns.
type project struct {
	base
	cols *computed
	bad  int64   // rows that cannot be computed
	kept []int32 // of the batch in hand, the others; nil for all
}

func newProject(n *physical.Project, in Operator) (*project, error) {
	cols, err := newComputed(n.Exprs, in.Schema())
	if err != nil {
		return nil, err
	}
	return &project{base: base{node: n, in: []Operator{in}}, cols: cols}, nil
}

func (p *project) Open(ctx context.Context, tc *TaskContext) error {
	p.cols.open(tc)
	p.bad = 0
	return p.base.Open(ctx, tc)
}

func (p *project) Next(ctx context.Context) (arrow.RecordBatch, error) {
	rec, err := p.in[0].Next(ctx)
	if err != nil {
		return nil, err
	}
	defer rec.Release()
	cols, err := p.cols.run(rec)
	if err != nil && !p.tc.unfit.takes(err) {
		return nil, err
	}
	if p.kept = nil; err == nil {
		return newBatch(p.Schema(), cols, int(rec.NumRows())), nil
	}
	fit, keep, err := p.cols.fit(traced(p.in[0]), rec)
	if err != nil {
		return nil, err
	}
	p.kept = keep
	defer fit.Release()
	p.bad += rec.NumRows() - fit.NumRows()
	if cols, err = p.cols.run(fit); err != nil {
		return nil, err
	}
	return newBatch(p.Schema(), cols, int(fit.NumRows())), nil
}

// watermark notes the highest event time that it sees.
type watermark struct {
	base
	n   *physical.Watermark
	src *scan // whose rows they are
	max batch.EventTime
	of  string // the partition that max is of
}

func newWatermark(n *physical.Watermark, in Operator) *watermark {
	return &watermark{base: base{node: n, in: []Operator{in}}, n: n, src: scanOf(in)}
}

// scanOf is the scan whose batches an operator hands on; nil if it is not one's.
func scanOf(in Operator) *scan {
	for {
		if w, ok := in.(*watched); ok {
			in = w.op
		}
		if s, ok := in.(*scan); ok {
			return s
		}
		if !rowByRow(in) {
			return nil
		}
		in = in.Inputs()[0]
	}
}

// Open names the partitions that are read: one that has had no row yet holds the
// watermark back.
func (w *watermark) Open(ctx context.Context, tc *TaskContext) error {
	w.max, w.of = batch.NoTime, ""
	if err := w.base.Open(ctx, tc); err != nil {
		return err
	}
	for _, s := range tc.Spec.Splits {
		if s.Source == w.n.Source && (s.Partition != "" || w.n.Column != "") {
			w.of = s.Partition
			w.report()
		}
	}
	w.of = ""
	return nil
}

func (w *watermark) Next(ctx context.Context) (arrow.RecordBatch, error) {
	rec, err := w.in[0].Next(ctx)
	if err != nil {
		return nil, err
	}
	times, ok := rec.Column(w.n.Col).(*array.Timestamp)
	if !ok {
		defer rec.Release()
		return nil, fmt.Errorf("watermark of %s: column %s is %s, not a timestamp", w.n.Source,
			rec.Schema().Field(w.n.Col).Name, rec.Column(w.n.Col).DataType())
	}
	seen, spread := spreadOf(times)
	if !w.n.Again {
		w.tc.Result.Spread.Add(spread)
	}
	if w.src != nil && w.src.split.Partition != w.of {
		w.of, w.max = w.src.split.Partition, batch.NoTime
	}
	if seen > w.max {
		w.max = seen
		w.report()
	}
	return rec, nil
}

// spreadOf finds the highest time of a column, and how the times are spread.
func spreadOf(times *array.Timestamp) (batch.EventTime, batch.TimeSpread) {
	vs := times.TimestampValues()
	high, low, sum, count := arrow.Timestamp(batch.NoTime), arrow.Timestamp(batch.EndOfTime), 0.0, len(vs)
	if times.NullN() == 0 {
		for _, v := range vs {
			high, low, sum = max(high, v), min(low, v), sum+float64(v)
		}
		return batch.EventTime(high), batch.TimeSpread{Count: int64(count), Min: batch.EventTime(low), Sum: sum}
	}
	count = 0
	for i, v := range vs {
		if times.IsValid(i) {
			high, low, sum = max(high, v), min(low, v), sum+float64(v)
			count++
		}
	}
	return batch.EventTime(high), batch.TimeSpread{Count: int64(count), Min: batch.EventTime(low), Sum: sum}
}

// report keeps one entry for each partition of a source, and each of its event
// times, in the task's result.
func (w *watermark) report() {
	r, of := w.tc.Result, w.of
	if w.n.Column != "" {
		of += " " + w.n.Column
	}
	for i := range r.Times {
		if r.Times[i].Source == w.n.Source && r.Times[i].Partition == of {
			r.Times[i].Max = max(r.Times[i].Max, w.max)
			return
		}
	}
	r.Times = append(r.Times, batch.SourceTime{Source: w.n.Source, Partition: of, Max: w.max})
}

// lateFilter drops what is too late for the watermark in force, and counts it.
type lateFilter struct {
	base
	end   *computed
	shift int64
	keep  []int32
	late  []int32 // if they have a table
	// operator is what the rows are late for, for the counts in progress.
	operator string
}

func newLateFilter(n *physical.LateFilter, in Operator) (*lateFilter, error) {
	end, err := newComputed([]expr.Expr{n.End}, in.Schema())
	if err != nil {
		return nil, err
	}
	return &lateFilter{base: base{node: n, in: []Operator{in}}, end: end, shift: n.Shift, operator: n.Operator}, nil
}

func (f *lateFilter) Open(ctx context.Context, tc *TaskContext) error {
	f.end.open(tc)
	return f.base.Open(ctx, tc)
}

func (f *lateFilter) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for {
		rec, err := f.in[0].Next(ctx)
		if err != nil || f.tc.Spec.Watermark == batch.NoTime {
			return rec, err
		}
		out, err := f.apply(ctx, rec)
		rec.Release()
		if err != nil || out != nil {
			return out, err
		}
	}
}

func (f *lateFilter) apply(ctx context.Context, rec arrow.RecordBatch) (arrow.RecordBatch, error) {
	cols, err := f.end.run(rec)
	if err != nil {
		return nil, err
	}
	defer gather.Release(cols)
	ends, err := timesIn(f, cols)
	if err != nil {
		return nil, err
	}
	f.keep, f.late = f.keep[:0], f.late[:0]
	for i, v := range ends.TimestampValues() {
		if shifted(int64(v), f.shift) > f.tc.Spec.Watermark || ends.IsNull(i) {
			f.keep = append(f.keep, int32(i))
		} else if f.tc.late != nil {
			f.late = append(f.late, int32(i))
		}
	}
	if late := rec.NumRows() - int64(len(f.keep)); late > 0 {
		noteLate(f.tc, f.operator, late)
		if err := f.tc.late.put(ctx, f.operator, rec, ends, f.late); err != nil {
			return nil, err
		}
	}
	return keepRows(f.tc, rec, f.keep)
}
