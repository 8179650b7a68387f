package executor

import (
	"context"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// The limits are constants over what was read and no question of free memory or
// of what an earlier batch has left allocated: what a task emits must not depend
// on either (E1), and a sum of floats does depend on where it was cut.
const (
	partialBytesMax = 32 << 20 // of keys and of states of a fixed size, before they are handed on
	partialRowsMax  = 1 << 20  // rows before states that grow with them are handed on
	reduceRows      = 1 << 17  // rows looked at before a verdict on whether grouping pays
)

// partialAggregate groups what passes through before it is sent over an exchange.
type partialAggregate struct {
	base
	agg  *aggregator
	in1  *aggInputs
	out  cutter
	rows int64
	// growing says that some state is a list or text; unsent counts rows since
	// the last groups were handed on.
	growing bool
	unsent  int
	// passing is set once nearly every row has proved to be a group of its own:
	// rows then become partial results one by one, without a table.
	passing, ended bool
	iota           []uint32
}

func newPartialAggregate(n *physical.PartialAggregate, in Operator) (*partialAggregate, error) {
	for _, a := range n.Aggs {
		if a.Distinct && !a.Func.IgnoresDuplicates || len(a.OrderBy) > 0 {
			return nil, fmt.Errorf("%s cannot be computed in parts", a)
		}
	}
	agg, err := newAggregator(typesOf(n.Keys), n.Aggs)
	if err != nil {
		return nil, err
	}
	inputs, err := newAggInputs(n.Keys, n.Aggs, in.Schema())
	if err != nil {
		return nil, err
	}
	p := &partialAggregate{base: base{node: n, in: []Operator{in}}, agg: agg, in1: inputs}
	for _, dt := range stateTypes(n.Aggs) {
		p.growing = p.growing || rowkey.Width(dt) == 0 && dt.ID() != arrow.DECIMAL128
	}
	return p, nil
}

func (p *partialAggregate) Open(ctx context.Context, tc *TaskContext) error {
	p.agg.open(tc)
	p.in1.open(tc)
	p.out.reset()
	p.rows, p.unsent, p.passing, p.ended = 0, 0, false, false
	return p.base.Open(ctx, tc)
}

func (p *partialAggregate) Close() error {
	p.out.reset()
	p.agg.release()
	return p.base.Close()
}

func (p *partialAggregate) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for {
		rec, err := p.out.next()
		if err == nil || p.ended {
			return rec, err
		}
		rec, err = p.in[0].Next(ctx)
		if err == io.EOF {
			p.ended = true
			if err := p.flush(); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		err = p.add(rec)
		rec.Release()
		if err != nil {
			return nil, err
		}
	}
}

func (p *partialAggregate) add(rec arrow.RecordBatch) error {
	n := int(rec.NumRows())
	cols, err := p.in1.run(rec)
	if err != nil {
		return err
	}
	defer gather.Release(cols)
	if p.passing {
		return p.pass(cols, n)
	}
	groups, err := p.agg.assign(cols[:p.in1.nkeys], n)
	if err != nil {
		return err
	}
	if err := p.update(cols, groups, n); err != nil {
		return err
	}
	before := p.rows
	p.rows += int64(n)
	if before < reduceRows && p.rows >= reduceRows && int64(p.agg.table.Len()) > p.rows/10*9 {
		p.passing = true
		return p.flush()
	}
	p.unsent += n
	if p.agg.contents() > partialBytesMax || p.growing && p.unsent >= partialRowsMax {
		return p.flush()
	}
	return nil
}

func (p *partialAggregate) update(cols []arrow.Array, groups []uint32, n int) error {
	for i, acc := range p.agg.accs {
		rows, sub := p.in1.selection(i, cols, groups, n)
		if err := acc.Update(sub, vecs(cols, p.in1.calls[i].args), rows, n); err != nil {
			return fmt.Errorf("%s: %w", p.agg.aggs[i], err)
		}
	}
	return nil
}

// pass makes each row a group.
func (p *partialAggregate) pass(cols []arrow.Array, n int) error {
	for i := len(p.iota); i < n; i++ {
		p.iota = append(p.iota, uint32(i))
	}
	p.agg.reset()
	p.agg.resize(n)
	if err := p.update(cols, p.iota[:n], n); err != nil {
		return err
	}
	keys := append([]arrow.Array{}, cols[:p.in1.nkeys]...)
	for _, k := range keys {
		k.Retain()
	}
	out, err := p.agg.states(keys, 0, n)
	if err != nil {
		return err
	}
	p.out.set(p.Schema(), out, n)
	return nil
}

// flush hands on all groups and forgets them.
func (p *partialAggregate) flush() error {
	n := p.agg.table.Len()
	if n == 0 {
		return nil
	}
	keys, err := p.agg.keys()
	if err != nil {
		return err
	}
	cols, err := p.agg.states(keys, 0, n)
	if err != nil {
		return err
	}
	p.agg.reset()
	p.unsent = 0
	p.out.set(p.Schema(), cols, n)
	return nil
}

// finalAggregate merges partial results into results.
type finalAggregate struct {
	base
	nkeys int
	agg   *aggregator
	out   cutter
	done  bool
}

func newFinalAggregate(n *physical.FinalAggregate, in Operator) (*finalAggregate, error) {
	agg, err := newMergeAggregator(n.NKeys, n.Aggs, in.Schema())
	if err != nil {
		return nil, err
	}
	return &finalAggregate{base: base{node: n, in: []Operator{in}}, nkeys: n.NKeys, agg: agg}, nil
}

// newMergeAggregator checks that the input has nkeys keys and the aggregates' state columns.
func newMergeAggregator(nkeys int, aggs []*expr.AggCall, input *arrow.Schema) (*aggregator, error) {
	if want := nkeys + len(stateTypes(aggs)); input.NumFields() != want {
		return nil, fmt.Errorf("partial results have %d columns, want %d", input.NumFields(), want)
	}
	return newAggregator(fieldTypes(input.Fields()[:nkeys]), aggs)
}

func (f *finalAggregate) Open(ctx context.Context, tc *TaskContext) error {
	f.agg.open(tc)
	f.out.reset()
	f.done = false
	return f.base.Open(ctx, tc)
}

func (f *finalAggregate) Close() error {
	f.out.reset()
	f.agg.release()
	return f.base.Close()
}

func (f *finalAggregate) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if !f.done {
		f.done = true
		if err := f.compute(ctx); err != nil {
			return nil, err
		}
	}
	return f.out.next()
}

func (f *finalAggregate) compute(ctx context.Context) error {
	err := drain(ctx, f.in[0], func(rec arrow.RecordBatch) error {
		groups, err := f.agg.assign(rec.Columns()[:f.nkeys], int(rec.NumRows()))
		if err != nil {
			return err
		}
		return f.agg.merge(groups, rec.Columns()[f.nkeys:])
	})
	if err != nil {
		return err
	}
	return emitResults(f.agg, &f.out, f.nkeys, f.Schema())
}

// emitResults sets out to the keys and results of all groups. Without keys there
// is one group, whether or not there were rows.
func emitResults(agg *aggregator, out *cutter, nkeys int, schema *arrow.Schema) error {
	n := agg.table.Len()
	if nkeys == 0 {
		n = 1
		agg.resize(1)
	}
	keys, err := agg.keys()
	if err != nil {
		return err
	}
	cols, err := agg.finals(keys, 0, n)
	if err != nil {
		return err
	}
	out.set(schema, cols, n)
	return nil
}
