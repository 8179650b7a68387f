package executor

import (
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/expr"
)

// aggregator is what all aggregates are made of: a table of groups and, for each
// aggregate, an accumulator with the partial results of those groups.
type aggregator struct {
	aggs   []*expr.AggCall
	alloc  memory.Allocator
	table  *groupTable
	accs   []expr.Accumulator
	groups []uint32
	mem    account
}

func newAggregator(keys []arrow.DataType, aggs []*expr.AggCall) (*aggregator, error) {
	t, err := newGroupTable(keys)
	if err != nil {
		return nil, err
	}
	return &aggregator{aggs: aggs, table: t}, nil
}

// open empties the aggregator. The accumulators are made anew only if the
// allocator is another one.
func (a *aggregator) open(tc *TaskContext) {
	alloc := tc.Alloc
	a.mem.open(tc)
	if a.alloc != alloc || a.accs == nil {
		a.release()
		a.alloc = alloc
		a.accs = make([]expr.Accumulator, len(a.aggs))
		for i, c := range a.aggs {
			a.accs[i] = c.Func.New(alloc)
		}
	}
	a.reset()
}

// renew empties the aggregator and gives its memory back.
func (a *aggregator) renew() error {
	table, err := newGroupTable(a.table.types)
	if err != nil {
		return err
	}
	a.table = table
	for i, acc := range a.accs {
		acc.Release()
		a.accs[i] = a.aggs[i].Func.New(a.alloc)
	}
	return a.mem.set(a.bytes())
}

func (a *aggregator) reset() {
	a.table.Reset()
	for _, acc := range a.accs {
		acc.Reset()
	}
}

func (a *aggregator) release() {
	for _, acc := range a.accs {
		acc.Release()
	}
	a.accs = nil
	a.mem.set(0)
}

func (a *aggregator) bytes() int64 {
	sum := a.table.Bytes()
	for _, acc := range a.accs {
		sum += acc.Bytes()
	}
	return sum
}

// contents estimates the bytes that the groups themselves need. Other than bytes
// it depends on nothing but the rows since the last reset.
func (a *aggregator) contents() int64 {
	perGroup := int64(0)
	for _, c := range a.aggs {
		perGroup += 16 * int64(len(c.Func.State))
	}
	return perGroup*int64(a.table.Len()) + a.table.contents()
}

// assign numbers the groups of n rows and makes room for the new ones. The groups
// are right even if the error is that the budget has no room for them.
func (a *aggregator) assign(keys []arrow.Array, n int) ([]uint32, error) {
	a.groups = resized(a.groups, n)
	a.table.Map(keys, n, a.groups)
	a.resize(a.table.Len())
	return a.groups, a.mem.set(a.bytes())
}

func (a *aggregator) resize(n int) {
	for _, acc := range a.accs {
		acc.Resize(n)
	}
}

// merge adds partial results: the state columns of all aggregates in order.
func (a *aggregator) merge(groups []uint32, states []arrow.Array) error {
	for i, acc := range a.accs {
		k := len(a.aggs[i].Func.State)
		if err := acc.Merge(groups, states[:k]); err != nil {
			return fmt.Errorf("merge partial results of %s: %w", a.aggs[i], err)
		}
		states = states[k:]
	}
	return nil
}

// states appends the state columns of groups [first, end) to cols, which it takes over on an error.
func (a *aggregator) states(cols []arrow.Array, first, end int) ([]arrow.Array, error) {
	for i, acc := range a.accs {
		s, err := acc.State(first, end)
		if err != nil {
			gather.Release(cols)
			return nil, fmt.Errorf("partial result of %s: %w", a.aggs[i].Blamed(), err)
		}
		cols = append(cols, s...)
	}
	return cols, nil
}

// finals appends the results of groups [first, end) to cols, which it takes over on an error.
func (a *aggregator) finals(cols []arrow.Array, first, end int) ([]arrow.Array, error) {
	for i, acc := range a.accs {
		f, err := acc.Final(first, end)
		if err != nil {
			gather.Release(cols)
			return nil, fmt.Errorf("result of %s: %w", a.aggs[i].Blamed(), err)
		}
		cols = append(cols, f)
	}
	return cols, nil
}

// groupCutter hands out groups in batches of outputRows: their keys, and their
// results or partial results. The aggregator must not change meanwhile.
type groupCutter struct {
	agg    *aggregator
	schema *arrow.Schema
	states bool
	at, n  int
}

// start begins with n groups. Without keys there is one, whether or not there were rows.
func (c *groupCutter) start() {
	c.at, c.n = 0, c.agg.table.Len()
	if c.agg.table.width == 0 && !c.states {
		c.n = 1
		c.agg.resize(1)
	}
}

func (c *groupCutter) reset() { c.at, c.n = 0, 0 }

// next returns io.EOF after the last group.
func (c *groupCutter) next() (arrow.RecordBatch, error) {
	if c.at >= c.n {
		return nil, io.EOF
	}
	end := min(c.at+outputRows, c.n)
	cols, err := c.agg.table.Keys(c.agg.alloc, c.at, end)
	if err != nil {
		return nil, err
	}
	if c.states {
		cols, err = c.agg.states(cols, c.at, end)
	} else {
		cols, err = c.agg.finals(cols, c.at, end)
	}
	if err != nil {
		return nil, err
	}
	rec := newBatch(c.schema, cols, end-c.at)
	c.at = end
	return rec, nil
}

// keys returns the key columns of all groups.
func (a *aggregator) keys() ([]arrow.Array, error) {
	return a.table.Keys(a.alloc, 0, a.table.Len())
}

// stateTypes lists the types of the state columns of aggs in order.
func stateTypes(aggs []*expr.AggCall) []arrow.DataType {
	var out []arrow.DataType
	for _, a := range aggs {
		out = append(out, a.Func.State...)
	}
	return out
}

// aggInputs evaluates the keys, arguments and filters of aggregates in one go,
// so that what they share is computed once.
type aggInputs struct {
	*computed
	nkeys int
	calls []aggInput
	sel   []int32
	sub   []uint32
}

// aggInput says where the columns of one call are.
type aggInput struct {
	args, order []int
	filter      int // -1 if there is none
}

func newAggInputs(keys []expr.Expr, aggs []*expr.AggCall, input *arrow.Schema) (*aggInputs, error) {
	// A nil selection means all rows, so it must never be nil itself.
	a := &aggInputs{nkeys: len(keys), sel: make([]int32, 0, 64)}
	exprs := append([]expr.Expr{}, keys...)
	add := func(e expr.Expr) int {
		exprs = append(exprs, e)
		return len(exprs) - 1
	}
	for _, c := range aggs {
		in := aggInput{filter: -1}
		for _, e := range c.Args {
			in.args = append(in.args, add(e))
		}
		for _, k := range c.OrderBy {
			in.order = append(in.order, add(k.Expr))
		}
		if c.Filter != nil {
			in.filter = add(c.Filter)
		}
		a.calls = append(a.calls, in)
	}
	var err error
	a.computed, err = newComputed(exprs, input)
	return a, err
}

// selection returns the rows that the filter of call i lets through and their
// groups; without a filter rows is nil and groups comes back as it is.
func (a *aggInputs) selection(i int, cols []arrow.Array, groups []uint32, n int) (rows []int32, sub []uint32) {
	f := a.calls[i].filter
	if f < 0 {
		return nil, groups
	}
	a.sel = trueRows(cols[f], n, a.sel[:0])
	return a.sel, a.pick(groups, a.sel)
}

func (a *aggInputs) pick(groups []uint32, rows []int32) []uint32 {
	if groups == nil {
		return nil
	}
	a.sub = a.sub[:0]
	for _, r := range rows {
		a.sub = append(a.sub, groups[r])
	}
	return a.sub
}

func vecs(cols []arrow.Array, at []int) []expr.Vec {
	out := make([]expr.Vec, len(at))
	for i, c := range at {
		out[i] = expr.Vec{Arr: cols[c]}
	}
	return out
}
