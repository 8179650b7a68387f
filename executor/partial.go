package executor

import (
	"context"
	"fmt"
	"io"
	"slices"

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
	partialBytesMax = 16 << 20 // of keys and of states of a fixed size, before they are handed on
	partialRowsMax  = 1 << 20  // rows before states that grow with them are handed on
	reduceFirst     = 1 << 14  // rows before the first verdict on whether grouping pays
	reduceRows      = 1 << 17  // rows before each later one
	passRows        = 1 << 21  // rows that pass ungrouped before grouping is tried again
)

// pays says whether grouping is worth its table: fresh is how many of the last
// rows were groups of their own. A table is new to everybody at first, so that
// only what is hopeless is given up early.
func pays(rows, fresh, verdict int) bool {
	switch verdict {
	case 0:
		return fresh < rows/100*99
	case 1:
		return fresh < rows/100*90
	}
	return fresh < rows/100*60
}

// partialAggregate groups what passes through before it is sent over an exchange.
type partialAggregate struct {
	base
	agg *aggregator
	in1 *aggInputs
	out cutter // of rows that pass ungrouped
	// groups hands on what is in the table, which is emptied behind it.
	groups   groupCutter
	flushing bool
	// window counts the rows since the last verdict, and known the groups then.
	window, known, verdicts int
	// growing says that some state is a list or text; unsent counts rows since
	// the last groups were handed on.
	growing bool
	unsent  int
	// passing is set once nearly every row has proved to be a group of its own:
	// rows then become partial results one by one, without a table.
	passing, ended bool
	iota           []uint32

	signed   bool // rows have a sign
	signs    []int32
	back     bool // some row of the batch in hand is taken back
	part     []int32
	partSubs []uint32
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
	p := &partialAggregate{base: base{node: n, in: []Operator{in}}, agg: agg, in1: inputs, signed: n.Signed,
		groups: groupCutter{agg: agg, schema: n.Schema(), states: true}}
	for _, dt := range stateTypes(n.Aggs) {
		p.growing = p.growing || rowkey.Width(dt) == 0 && dt.ID() != arrow.DECIMAL128
	}
	return p, nil
}

func (p *partialAggregate) Open(ctx context.Context, tc *TaskContext) error {
	p.agg.open(tc)
	p.in1.open(tc)
	p.out.reset()
	p.groups.reset()
	p.flushing = false
	p.window, p.known, p.verdicts, p.unsent, p.passing, p.ended = 0, 0, 0, 0, false, false
	return p.base.Open(ctx, tc)
}

func (p *partialAggregate) Close() error {
	p.out.reset()
	p.agg.release()
	return p.base.Close()
}

func (p *partialAggregate) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for {
		rec, err := p.ready()
		if err != io.EOF || p.ended {
			return rec, err
		}
		rec, err = p.in[0].Next(ctx)
		if err == io.EOF {
			p.ended = true
			p.flush()
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
	if p.signed {
		if _, p.signs, err = signs(rec, p.signs); err != nil {
			return err
		}
		p.back = slices.Contains(p.signs, -1)
	}
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
	p.unsent += n
	if p.judge(n) {
		p.passing = true
		p.flush()
		return nil
	}
	if p.agg.contents() > partialBytesMax || p.growing && p.unsent >= partialRowsMax {
		p.flush()
	}
	return nil
}

// judge counts n rows and reports whether grouping them has proved useless.
func (p *partialAggregate) judge(n int) bool {
	p.window += n
	if p.window < reduceFirst || p.verdicts > 0 && p.window < reduceRows {
		return false
	}
	useless := !pays(p.window, p.agg.table.Len()-p.known, p.verdicts)
	p.window, p.known = 0, p.agg.table.Len()
	p.verdicts++
	return useless
}

func (p *partialAggregate) update(cols []arrow.Array, groups []uint32, n int) error {
	if p.in1.nkeys == 0 {
		groups = nil // all rows are of one group, which accumulators do faster
	}
	for i, acc := range p.agg.accs {
		rows, sub := p.in1.selection(i, cols, groups, n)
		args := vecs(cols, p.in1.calls[i].args)
		var err error
		if p.back {
			err = p.updateSigned(acc, args, rows, sub, n)
		} else {
			err = acc.Update(sub, args, rows, n)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.agg.aggs[i], err)
		}
	}
	return nil
}

// updateSigned adds the rows that come and takes back those that go.
func (p *partialAggregate) updateSigned(acc expr.Accumulator, args []expr.Vec, rows []int32, groups []uint32, n int) error {
	for _, sign := range []int32{1, -1} {
		if p.part == nil {
			p.part = make([]int32, 0, n) // nil would mean all rows
		}
		p.part, p.partSubs = p.part[:0], p.partSubs[:0]
		take := func(at int, row int32) {
			if p.signs[row] != sign {
				return
			}
			p.part = append(p.part, row)
			if groups != nil {
				p.partSubs = append(p.partSubs, groups[at])
			}
		}
		if rows == nil {
			for i := range n {
				take(i, int32(i))
			}
		} else {
			for at, row := range rows {
				take(at, row)
			}
		}
		subs := p.partSubs
		if groups == nil {
			subs = nil
		}
		if len(p.part) == 0 {
			continue
		}
		call := acc.Update
		if sign < 0 {
			call = acc.Retract
		}
		if err := call(subs, args, p.part, n); err != nil {
			return err
		}
	}
	return nil
}

// pass makes each row a group.
func (p *partialAggregate) pass(cols []arrow.Array, n int) error {
	for i := len(p.iota); i < n; i++ {
		p.iota = append(p.iota, uint32(i))
	}
	if p.window += n; p.window > passRows {
		p.window, p.known, p.verdicts, p.passing = 0, 0, 0, false
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
	p.agg.reset()
	p.out.set(p.Schema(), out, n)
	return nil
}

// flush hands on all groups, after which they are forgotten.
func (p *partialAggregate) flush() {
	p.flushing = true
	p.groups.start()
}

// ready returns what can be handed on without reading more.
func (p *partialAggregate) ready() (arrow.RecordBatch, error) {
	if !p.flushing {
		return p.out.next()
	}
	rec, err := p.groups.next()
	if err == io.EOF {
		p.flushing, p.unsent, p.known = false, 0, 0
		p.agg.reset()
	}
	return rec, err
}
