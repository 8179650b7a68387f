package sluice

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// Observation takes the metrics of DataFrame.Observe from the first run of a query
// over tables that reads all of its rows.
type Observation struct {
	name string
	once sync.Once
	done chan struct{}
	row  map[string]any
}

// NewObservation makes an observation, which has a name in plans.
func NewObservation(name string) *Observation {
	return &Observation{name: name, done: make(chan struct{})}
}

// Name returns the name.
func (o *Observation) Name() string { return o.name }

// Get waits until a run has ended and returns its metrics, as Row has values.
func (o *Observation) Get(ctx context.Context) (map[string]any, error) {
	select {
	case <-o.done:
		return maps.Clone(o.row), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (o *Observation) set(row map[string]any) {
	o.once.Do(func() {
		o.row = row
		close(o.done)
	})
}

// Observe passes the rows on and computes aggregates over them on the way, under a
// name or an Observation: d.Observe("quality", Count().As("rows"), Sum(Col("bad")).As("bad")).
// Of a streaming query each batch's are in Progress.ObservedMetrics, of the rows that the
// batch has brought there; of a query over tables the Observation has them. Rows that a
// change takes back are not counted. Rows that nobody asks for, behind a LIMIT, may not
// be seen. Aggregates of different values are refused.
func (d *DataFrame) Observe(name any, aggs ...any) *DataFrame {
	n, err := d.bound()
	if err != nil {
		return d.failed(err)
	}
	out := &logical.Observe{Input: n}
	switch x := name.(type) {
	case string:
		out.Name = x
	case *Observation:
		if x == nil {
			return d.failed(batch.UserErrorf("Observe: the Observation is nil"))
		}
		out.Name, out.Observer = x.name, x
	default:
		return d.failed(batch.UserErrorf("Observe: a name is a string or an *Observation, not a %T", name))
	}
	if out.Name == "" || len(aggs) == 0 {
		return d.failed(batch.UserErrorf("Observe: want a name and an aggregate at least"))
	}
	over := d.Agg(aggs...)
	if over.err != nil {
		return d.failed(over.err)
	}
	if err := takeAggregates(out, over.node, n); err != nil {
		return d.failed(err)
	}
	return d.named(&DataFrame{s: d.s, node: out})
}

// takeAggregates takes the aggregates over n apart that the binder has made.
func takeAggregates(out *logical.Observe, node, n logical.Node) error {
	if p, ok := node.(*logical.Project); ok {
		out.Exprs, out.Names = p.Exprs, p.Names
		node = p.Input
	}
	a, ok := node.(*logical.Aggregate)
	if !ok || a.Input != n || len(a.Keys) > 0 {
		return batch.UserErrorf("Observe %q takes aggregates over the rows that pass, without subqueries and window functions", out.Name)
	}
	for _, c := range a.Aggs {
		if c.Distinct && !c.Func.IgnoresDuplicates || len(c.OrderBy) > 0 {
			return batch.UserErrorf("Observe %q: %s cannot be computed where the rows pass: different values, and an order, need all of them together", out.Name, c)
		}
	}
	if out.Aggs = a.Aggs; out.Exprs == nil {
		for i, f := range a.Schema().Fields() {
			out.Exprs = append(out.Exprs, &expr.Column{Index: i, Name: f.Name, DT: f.Type, Null: f.Nullable})
			out.Names = append(out.Names, f.Name)
		}
	}
	return nil
}

// observations hands the metrics of a run to those who wait for them.
func (s *Session) observations(plan *physical.Plan, parts []batch.Observed) {
	nodes := plan.Observed()
	for name, row := range s.observed(plan, parts) {
		if o, ok := nodes[name].Observer.(*Observation); ok {
			o.set(row.(map[string]any))
		}
	}
}

// observed makes the metrics of a run or a batch of what its tasks have seen.
func (s *Session) observed(plan *physical.Plan, parts []batch.Observed) map[string]any {
	out := map[string]any{}
	if len(parts) == 0 {
		return out
	}
	for name, n := range plan.Observed() {
		rec, err := executor.MergeObserved(n, plan.Zone, parts)
		if err != nil {
			s.opts.Logger.Warn("observed metrics", "name", name, "err", err)
			continue
		}
		if rec == nil {
			continue
		}
		row := map[string]any{}
		for i, c := range rec.Columns() {
			row[n.Names[i]] = value(c, 0)
		}
		rec.Release()
		out[name] = row
	}
	return out
}

// observed collects what the tasks of a run have seen.
type observed struct {
	mu    sync.Mutex
	parts []batch.Observed
}

// add takes what a task has seen, once if its result comes again.
func (o *observed) add(res batch.TaskResult) {
	if len(res.Observed) == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range res.Observed {
		p.Stage, p.Partition = res.Task.Stage, res.Task.Partition
		if !slices.ContainsFunc(o.parts, func(q batch.Observed) bool {
			return q.Name == p.Name && q.At == p.At && q.Stage == p.Stage && q.Partition == p.Partition
		}) {
			o.parts = append(o.parts, p)
		}
	}
}
