package executor

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// observe passes rows on and computes aggregates over them, which the task reports.
// What a change takes back is not counted: the rows are those that came out.
type observe struct {
	base
	n     *physical.Observe
	agg   *aggregator
	in1   *aggInputs
	codec *rowkey.ValueCodec
	signs []int32
	keep  []int32
}

func newObserve(n *physical.Observe, in Operator) (*observe, error) {
	o := &observe{base: base{node: n, in: []Operator{in}}, n: n}
	var err error
	if o.agg, err = newAggregator(nil, n.Aggs); err != nil {
		return nil, err
	}
	if o.in1, err = newAggInputs(nil, n.Aggs, in.Schema()); err != nil {
		return nil, err
	}
	o.codec, err = rowkey.NewValueCodec(stateTypes(n.Aggs))
	return o, err
}

func (o *observe) Open(ctx context.Context, tc *TaskContext) error {
	o.agg.open(tc)
	o.agg.resize(1)
	o.in1.open(tc)
	return o.base.Open(ctx, tc)
}

func (o *observe) Close() error {
	o.agg.release()
	return o.base.Close()
}

func (o *observe) Next(ctx context.Context) (arrow.RecordBatch, error) {
	rec, err := o.in[0].Next(ctx)
	if err != nil {
		return nil, err
	}
	if err := o.see(rec); err != nil {
		rec.Release()
		return nil, fmt.Errorf("observe %q: %w", o.n.Name, err)
	}
	return rec, nil
}

// see adds the rows of a batch.
func (o *observe) see(rec arrow.RecordBatch) error {
	rec.Retain()
	defer func() { rec.Release() }()
	if f := rec.Schema().Fields(); len(f) > 0 && f[len(f)-1].Name == batch.OpColumn {
		var err error
		if _, o.signs, err = signs(rec, o.signs); err != nil {
			return err
		}
		o.keep = o.keep[:0]
		for i, s := range o.signs {
			if s > 0 {
				o.keep = append(o.keep, int32(i))
			}
		}
		there, err := keepRows(o.tc, rec, o.keep)
		if err != nil || there == nil {
			return err
		}
		rec.Release()
		rec = there
	}
	n := int(rec.NumRows())
	cols, err := o.in1.run(rec)
	if err != nil {
		return err
	}
	defer gather.Release(cols)
	for i, acc := range o.agg.accs {
		rows, sub := o.in1.selection(i, cols, nil, n)
		if err := acc.Update(sub, vecs(cols, o.in1.calls[i].args), rows, n); err != nil {
			return fmt.Errorf("%s: %w", o.agg.aggs[i], err)
		}
	}
	return o.agg.mem.set(o.agg.bytes())
}

// report says what was seen until now.
func (o *observe) report(res *batch.TaskResult) error {
	cols, err := o.agg.states(nil, 0, 1)
	if err != nil {
		return fmt.Errorf("observe %q: %w", o.n.Name, err)
	}
	defer gather.Release(cols)
	var rows rowkey.Rows
	if err := o.codec.Encode(cols, 1, &rows); err != nil {
		return fmt.Errorf("observe %q: %w", o.n.Name, err)
	}
	res.Observed = append(res.Observed, batch.Observed{Name: o.n.Name, At: o.n.At, State: slices.Clone(rows.Row(0))})
	return nil
}

// reportObserved adds what the operators of a task have seen to its result.
func (t *Task) reportObserved(res *batch.TaskResult) error {
	for _, w := range t.ops {
		if o, ok := w.op.(*observe); ok {
			if err := o.report(res); err != nil {
				return err
			}
		}
	}
	return nil
}

// MergeObserved makes the row of results, with a column for each of n.Names, of
// what the tasks of a batch have reported. Parts of other operators are left out; nil
// if there is none of n.
func MergeObserved(n *physical.Observe, zone string, parts []batch.Observed) (arrow.RecordBatch, error) {
	parts = slices.DeleteFunc(slices.Clone(parts), func(p batch.Observed) bool { return p.Name != n.Name || p.At != n.At })
	if len(parts) == 0 {
		return nil, nil
	}
	slices.SortFunc(parts, func(a, b batch.Observed) int {
		return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Partition, b.Partition))
	})
	out, err := mergeObserved(n, zone, parts)
	if err != nil {
		return nil, fmt.Errorf("observe %q: %w", n.Name, err)
	}
	return out, nil
}

func mergeObserved(n *physical.Observe, zone string, parts []batch.Observed) (arrow.RecordBatch, error) {
	tc := &TaskContext{Alloc: memory.DefaultAllocator, Zone: zone, Result: &batch.TaskResult{}}
	types := stateTypes(n.Aggs)
	codec, err := rowkey.NewValueCodec(types)
	if err != nil {
		return nil, err
	}
	bs := newBuilders(tc.Alloc, types)
	defer releaseBuilders(bs)
	for _, p := range parts {
		if err := codec.Decode(p.State, bs); err != nil {
			return nil, err
		}
	}
	states := finish(bs)
	defer gather.Release(states)
	agg, err := newAggregator(nil, n.Aggs)
	if err != nil {
		return nil, err
	}
	agg.open(tc)
	defer agg.release()
	agg.resize(1)
	if err := agg.merge(make([]uint32, len(parts)), states); err != nil {
		return nil, err
	}
	finals, err := agg.finals(nil, 0, 1)
	if err != nil {
		return nil, err
	}
	fields := make([]arrow.Field, len(finals))
	for i, c := range finals {
		fields[i] = arrow.Field{Name: n.Aggs[i].Name, Type: c.DataType(), Nullable: true}
	}
	row := newBatch(arrow.NewSchema(fields, nil), finals, 1)
	defer row.Release()
	project, err := newComputed(n.Exprs, row.Schema())
	if err != nil {
		return nil, err
	}
	project.open(tc)
	cols, err := project.run(row)
	if err != nil {
		return nil, err
	}
	return newBatch(observedSchema(n.Names, n.Exprs), cols, 1), nil
}

func observedSchema(names []string, exprs []expr.Expr) *arrow.Schema {
	fields := make([]arrow.Field, len(names))
	for i, name := range names {
		fields[i] = arrow.Field{Name: name, Type: exprs[i].Type(), Nullable: true}
	}
	return arrow.NewSchema(fields, nil)
}
