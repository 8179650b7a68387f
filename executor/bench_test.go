package executor

import (
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// fastCount is count(*) as an engine has it, so that benchmarks measure operators.
type fastCount struct {
	alloc memory.Allocator
	n     []int64
}

var countAgg = &expr.Aggregate{Name: "count", State: []arrow.DataType{tInt}, Result: tInt,
	New: func(alloc memory.Allocator) expr.Accumulator { return &fastCount{alloc: alloc} }}

func (c *fastCount) Resize(n int) {
	for len(c.n) < n {
		c.n = append(c.n, 0)
	}
}

func (c *fastCount) Update(groups []uint32, _ []expr.Vec, _ []int32, n int) error {
	if groups == nil {
		c.n[0] += int64(n)
	}
	for _, g := range groups {
		c.n[g]++
	}
	return nil
}
func (c *fastCount) Retract([]uint32, []expr.Vec, []int32, int) error { return nil }
func (c *fastCount) Merge(groups []uint32, state []arrow.Array) error {
	for k, v := range state[0].(*array.Int64).Int64Values() {
		c.n[groups[k]] += v
	}
	return nil
}

func (c *fastCount) State(first, end int) ([]arrow.Array, error) {
	a, err := c.Final(first, end)
	return []arrow.Array{a}, err
}

func (c *fastCount) Final(first, end int) (arrow.Array, error) {
	return int64Column(c.alloc, tInt, c.n[first:end], 0), nil
}
func (c *fastCount) Bytes() int64 { return int64(8 * cap(c.n)) }
func (c *fastCount) Reset()       { clear(c.n); c.n = c.n[:0] }
func (c *fastCount) Release()     {}

const benchRows = 1 << 21

// benchTable has times in order, a key of the given domain, a text and a number.
func benchTable(domain int) (*table, *memSource) {
	r := rand.New(rand.NewPCG(1, 1))
	ts, k, s, v := make([]int64, benchRows), make([]int64, benchRows), array.NewStringBuilder(memory.DefaultAllocator), make([]int64, benchRows)
	names := []string{"JFK", "LGA", "EWR", "a longer name of an airport"}
	for i := range ts {
		ts[i], k[i], v[i] = int64(i)*100, r.Int64N(int64(domain)), r.Int64()
		s.Append(names[r.IntN(len(names))])
	}
	alloc := memory.DefaultAllocator
	tb := newTable(arrow.NewSchema([]arrow.Field{{Name: "ts", Type: tTime}, {Name: "k", Type: tInt}, {Name: "s", Type: tString}, {Name: "v", Type: tInt}}, nil),
		[]arrow.Array{int64Column(alloc, tTime, ts, 0), int64Column(alloc, tInt, k, 0), s.NewArray(), int64Column(alloc, tInt, v, 0)})
	m := &memSource{splits: make([][]arrow.RecordBatch, 1)}
	for at := int64(0); at < benchRows; at += 8192 {
		m.splits[0] = append(m.splits[0], tb.rec.NewSlice(at, at+8192))
	}
	return tb, m
}

func benchPlan(b *testing.B, plan *physical.Plan, sources map[string]*memSource, rows int, want int) {
	e := newEngine(b, memory.DefaultAllocator, plan, 2)
	e.sources = sources
	id := batch.ID(0)
	for b.Loop() {
		if got := e.run(id, batch.NoTime, batch.NoTime); want >= 0 && len(got) != want {
			b.Fatalf("%d rows, want %d", len(got), want)
		}
		id++
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
}

func BenchmarkWindowedCount(b *testing.B) {
	for _, c := range []struct {
		name, key string
		domain    int
	}{{"window", "", 1}, {"window+int", "k", 100}, {"window+string", "s", 1}} {
		b.Run(c.name, func(b *testing.B) {
			tb, m := benchTable(c.domain)
			fields := append([]arrow.Field{}, tb.schema.Fields()...)
			for _, n := range []string{"window_start", "window_end", "window_time"} {
				fields = append(fields, arrow.Field{Name: n, Type: tTime})
			}
			out := arrow.NewSchema(fields, nil)
			w := &physical.Window{Input: &physical.Scan{Source: "src", Out: tb.schema}, Kind: logical.Tumble, Time: tb.col("ts"), Size: 10 * second, Out: out}
			keys := exprs(column(out, 4), column(out, 5))
			if c.key != "" {
				keys = append(keys, tb.col(c.key))
			}
			aggs := []*expr.AggCall{{Func: countAgg, Name: "n"}}
			plan := partialFinal(tb, keys, aggs)
			plan.Stages[0].Root.(*physical.PartialAggregate).Input = w
			benchPlan(b, plan, map[string]*memSource{"src": m}, benchRows, -1)
		})
	}
}

func BenchmarkSort(b *testing.B) {
	tb, m := benchTable(1 << 20)
	plan := onePlan(tb, func(in physical.Node) physical.Node {
		return &physical.Limit{Input: &physical.Sort{Input: in, Keys: []expr.SortKey{{Expr: tb.col("v"), NullsFirst: true}}}, Count: 1}
	})
	benchPlan(b, plan, map[string]*memSource{"src": m}, benchRows, 1)
}

func BenchmarkSpilledSort(b *testing.B) {
	tb, m := benchTable(1 << 20)
	e := newEngine(b, memory.DefaultAllocator, onePlan(tb, func(in physical.Node) physical.Node {
		return &physical.Sort{Input: in, Keys: []expr.SortKey{{Expr: tb.col("v"), NullsFirst: true}}}
	}), 1)
	e.sources["src"], e.spill = m, b.TempDir()
	e.tasks[1].root.(*watched).op.(*sorter).max = 16 << 20
	e.run(0, batch.NoTime, batch.NoTime)
	for b.Loop() {
		if _, err := e.runTask(e.plan.Stages[1], 0, 0, batch.NoTime, batch.NoTime); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(benchRows*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
}

func BenchmarkTopN(b *testing.B) {
	tb, m := benchTable(1 << 20)
	plan := onePlan(tb, func(in physical.Node) physical.Node {
		return &physical.TopN{Input: in, Keys: []expr.SortKey{{Expr: tb.col("v"), NullsFirst: true}}, Count: 10}
	})
	benchPlan(b, plan, map[string]*memSource{"src": m}, benchRows, 10)
}

func BenchmarkHashJoin(b *testing.B) {
	tb, m := benchTable(1000)
	const n = 1000
	ks := make([]int64, n)
	for i := range ks {
		ks[i] = int64(i)
	}
	dim := newTable(arrow.NewSchema([]arrow.Field{{Name: "id", Type: tInt}}, nil), []arrow.Array{int64Column(memory.DefaultAllocator, tInt, ks, 0)})
	out := arrow.NewSchema(append(append([]arrow.Field{}, tb.schema.Fields()...), dim.schema.Fields()...), nil)
	join := &physical.HashJoin{Left: &physical.Scan{Source: "src", Out: tb.schema}, Right: &physical.ExchangeRead{Stage: 0, Out: dim.schema},
		LeftKeys: exprs(tb.col("k")), RightKeys: exprs(dim.col("id")), Out: out}
	count := &physical.PartialAggregate{Input: join, Aggs: []*expr.AggCall{{Func: countAgg}}, Out: aggSchema(nil, nil, []arrow.DataType{tInt}, false)}
	benchPlan(b, &physical.Plan{Stages: []*physical.Stage{
		{ID: 0, Root: &physical.Scan{Source: "dim", Out: dim.schema}, Kind: physical.Splits, Output: physical.ToAll{}, Sources: []string{"dim"}},
		{ID: 1, Root: count, Kind: physical.Splits, Output: physical.ToClient{}, Sources: []string{"src"}, Inputs: []int{0}},
	}}, map[string]*memSource{"src": m, "dim": dim.cut(rand.New(rand.NewPCG(1, 1)), 0, n, 1)}, benchRows, 1)
}
