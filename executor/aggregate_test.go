package executor

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

func aggTable(r *rand.Rand, alloc memory.Allocator, n int) *table {
	return randomTable(r, alloc, n, 6, arrow.Field{Name: "k", Type: tInt}, arrow.Field{Name: "s", Type: tDict},
		arrow.Field{Name: "v", Type: tInt}, arrow.Field{Name: "f", Type: tBool})
}

// naive groups row by row with a map and fmt.
func naive(tb *table, keys []*expr.Column, result func(rows []int) string) []string {
	groups := map[string][]int{}
	var order []string
	for i := range int(tb.rec.NumRows()) {
		var cols []arrow.Array
		for _, k := range keys {
			cols = append(cols, tb.rec.Column(k.Index))
		}
		key := rowText(cols, i)
		if groups[key] == nil {
			order = append(order, key)
		}
		groups[key] = append(groups[key], i)
	}
	var out []string
	for _, key := range order {
		out = append(out, key+result(groups[key]))
	}
	return out
}

// partialFinal is scan -> partial -> hash exchange -> final -> client.
func partialFinal(tb *table, keys []expr.Expr, aggs []*expr.AggCall) *physical.Plan {
	scan := &physical.Scan{Source: "src", Out: tb.schema}
	part := &physical.PartialAggregate{Input: scan, Keys: keys, Aggs: aggs, Out: aggSchema(tb.schema, keys, stateTypes(aggs), false)}
	out := make([]expr.Expr, len(keys))
	for i := range keys {
		out[i] = column(part.Out, i)
	}
	final := &physical.FinalAggregate{Input: &physical.ExchangeRead{Stage: 0, Out: part.Out}, NKeys: len(keys), Aggs: aggs,
		Out: aggSchema(tb.schema, keys, resultTypes(aggs), false)}
	kind := physical.Hash
	var to physical.Output = physical.ToHash{Keys: out}
	if len(keys) == 0 {
		kind, to = physical.Single, physical.ToOne{}
	}
	return &physical.Plan{Stages: []*physical.Stage{
		{ID: 0, Root: part, Kind: physical.Splits, Output: to, Sources: []string{"src"}},
		{ID: 1, Root: final, Kind: kind, Output: physical.ToClient{}, Inputs: []int{0}},
	}}
}

func TestPartialAndFinalAggregateEqualTheNaiveOne(t *testing.T) {
	for _, n := range []int{0, 1, 700} {
		for _, parts := range []int{1, 3, 7} {
			alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
			r := rand.New(rand.NewPCG(uint64(n), uint64(parts)))
			tb := aggTable(r, alloc, n)
			keys := []*expr.Column{tb.col("k"), tb.col("s")}
			filtered := call("count")
			filtered.Filter = tb.col("f")
			aggs := []*expr.AggCall{call("count"), call("sum", tb.col("v")), filtered, call("min", tb.col("v"))}
			e := newEngine(t, alloc, partialFinal(tb, exprs(keys...), aggs), parts)
			e.sources["src"] = tb.cut(r, 0, n, 1+parts/2)
			got := e.run(0, batch.NoTime, batch.NoTime)
			want := naive(tb, keys, func(rows []int) string {
				v, f := tb.rec.Column(2).(*array.Int64), tb.rec.Column(3).(*array.Boolean)
				sum, least, trues, any := int64(0), int64(99), 0, false
				for _, i := range rows {
					if v.IsValid(i) {
						sum, least, any = sum+v.Value(i), min(least, v.Value(i)), true
					}
					if f.IsValid(i) && f.Value(i) {
						trues++
					}
				}
				if !any {
					return fmt.Sprintf("%q|%q|%q|%q|", fmt.Sprint(len(rows)), "(null)", fmt.Sprint(trues), "(null)")
				}
				return fmt.Sprintf("%q|%q|%q|%q|", fmt.Sprint(len(rows)), fmt.Sprint(sum), fmt.Sprint(trues), fmt.Sprint(least))
			})
			sameRows(t, fmt.Sprint(n, " rows, ", parts, " parts"), got, want)
			e.sources["src"].release()
			tb.rec.Release()
			e.close()
			alloc.AssertSize(t, 0)
		}
	}
}

// E1: where partial results are cut depends on the rows alone, not on what an
// earlier batch has left behind.
func TestPartialResultsAreCutAtTheSameRows(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	const n = 1 << 21
	b := array.NewInt64Builder(alloc)
	for i := range int64(n) {
		b.Append(i / 2)
	}
	tb := newTable(arrow.NewSchema([]arrow.Field{{Name: "k", Type: tInt}}, nil), []arrow.Array{b.NewArray()})
	b.Release()
	defer tb.rec.Release()
	e := newEngine(t, alloc, partialFinal(tb, exprs(tb.col("k")), []*expr.AggCall{{Func: countAgg}}), 1)
	defer e.close()
	e.sources["src"] = &memSource{splits: make([][]arrow.RecordBatch, 1)}
	for at := int64(0); at < n; at += 10_000 {
		e.sources["src"].splits[0] = append(e.sources["src"].splits[0], tb.rec.NewSlice(at, min(at+10_000, n)))
	}
	defer e.sources["src"].release()
	var rows [3]int64
	for id := range rows {
		res, err := e.runTask(e.plan.Stages[0], 0, batch.ID(id), batch.NoTime, batch.NoTime)
		if err != nil {
			t.Fatal(err)
		}
		rows[id] = res.Counters.RowsOut
	}
	if rows[0] != rows[1] || rows[0] != rows[2] || rows[0] < n/2 {
		t.Errorf("partial results: %v", rows)
	}
	if e.tasks[0].ops[0].stats.Batches < n/2/outputRows+1 {
		t.Errorf("nothing was cut: %d batches", e.tasks[0].ops[0].stats.Batches)
	}
}

func TestAnAggregateWithoutKeysHasOneRow(t *testing.T) {
	for _, n := range []int{0, 5} {
		alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
		r := rand.New(rand.NewPCG(1, 1))
		tb := aggTable(r, alloc, n)
		e := newEngine(t, alloc, partialFinal(tb, nil, []*expr.AggCall{call("count"), call("sum", tb.col("k"))}), 1)
		e.sources["src"] = tb.cut(r, 0, n, 2)
		got := e.run(0, batch.NoTime, batch.NoTime)
		if len(got) != 1 || !strings.HasPrefix(got[0], strconv.Quote(fmt.Sprint(n))) {
			t.Errorf("%d rows: got %v", n, got)
		}
		e.sources["src"].release()
		tb.rec.Release()
		e.close()
		alloc.AssertSize(t, 0)
	}
}

// A table of nearly as many groups as rows is not built: rows pass as partial results.
func TestPartialAggregatePassesThroughWhatItCannotReduce(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	const n = reduceRows + 5000
	b := array.NewInt64Builder(alloc)
	defer b.Release()
	for i := range int64(n) {
		b.Append(i / 2) // each key twice
	}
	keys := b.NewInt64Array()
	tb := newTable(arrow.NewSchema([]arrow.Field{{Name: "k", Type: tInt}}, nil), []arrow.Array{keys})
	defer tb.rec.Release()
	for _, distinct := range []bool{true, false} {
		rec := tb.rec
		plan := partialFinal(tb, exprs(tb.col("k")), []*expr.AggCall{call("count")})
		if distinct {
			ib := array.NewInt64Builder(alloc)
			for i := range int64(n) {
				ib.Append(i % (n - 100))
			}
			rec = newBatch(tb.schema, []arrow.Array{ib.NewArray()}, n)
			ib.Release()
		} else {
			rec.Retain()
		}
		e := newEngine(t, alloc, plan, 1)
		e.sources["src"] = (&table{schema: tb.schema, rec: rec}).cut(rand.New(rand.NewPCG(3, 3)), 0, n, 1)
		got := e.run(0, batch.NoTime, batch.NoTime)
		part := e.tasks[0].root.(*watched).op.(*partialAggregate)
		if part.passing != distinct {
			t.Errorf("passing is %v, want %v", part.passing, distinct)
		}
		want := map[bool]int{true: n - 100, false: n / 2}[distinct]
		if len(got) != want {
			t.Errorf("%d groups, want %d", len(got), want)
		}
		e.sources["src"].release()
		e.close()
		rec.Release()
	}
}

func TestCompleteAggregateDistinctOrderedFiltered(t *testing.T) {
	for _, parts := range []int{1, 4} {
		alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
		r := rand.New(rand.NewPCG(9, uint64(parts)))
		const n = 600
		tb := aggTable(r, alloc, n)
		key := tb.col("s")
		distinct, ordered := call("count", tb.col("v")), call("list", tb.col("v"))
		distinct.Distinct = true
		distinct.Filter = tb.col("f")
		ordered.OrderBy = []expr.SortKey{{Expr: tb.col("k"), Desc: true}, {Expr: tb.col("v"), NullsFirst: true}}
		aggs := []*expr.AggCall{distinct, ordered}
		scan := &physical.Scan{Source: "src", Out: tb.schema}
		complete := &physical.CompleteAggregate{Input: &physical.ExchangeRead{Out: tb.schema}, Keys: exprs(key), Aggs: aggs,
			Out: aggSchema(tb.schema, exprs(key), resultTypes(aggs), false)}
		e := newEngine(t, alloc, &physical.Plan{Stages: []*physical.Stage{
			{ID: 0, Root: scan, Kind: physical.Splits, Output: physical.ToHash{Keys: exprs(key)}, Sources: []string{"src"}},
			{ID: 1, Root: complete, Kind: physical.Hash, Output: physical.ToClient{}, Inputs: []int{0}},
		}}, parts)
		e.sources["src"] = tb.cut(r, 0, n, 3)
		got := e.run(0, batch.NoTime, batch.NoTime)
		k, v, f := tb.rec.Column(0).(*array.Int64), tb.rec.Column(2).(*array.Int64), tb.rec.Column(3).(*array.Boolean)
		want := naive(tb, []*expr.Column{key}, func(rows []int) string {
			set := map[int64]bool{}
			for _, i := range rows {
				if f.IsValid(i) && f.Value(i) && v.IsValid(i) {
					set[v.Value(i)] = true
				}
			}
			sort.SliceStable(rows, func(a, b int) bool { return lessRows(k, v, rows[a], rows[b]) })
			var list []string
			for _, i := range rows {
				if v.IsValid(i) {
					list = append(list, fmt.Sprint(v.Value(i)))
				}
			}
			text := strings.Join(list, ",")
			if len(list) == 0 {
				text = "(null)"
			}
			return fmt.Sprintf("%q|%q|", fmt.Sprint(len(set)), text)
		})
		sameRows(t, fmt.Sprint(parts, " parts"), got, want)
		e.sources["src"].release()
		tb.rec.Release()
		e.close()
		alloc.AssertSize(t, 0)
	}
}

// lessRows orders by k DESC NULLS LAST, v ASC NULLS FIRST.
func lessRows(k, v *array.Int64, a, b int) bool {
	if k.IsNull(a) != k.IsNull(b) {
		return k.IsNull(b)
	}
	if k.IsValid(a) && k.Value(a) != k.Value(b) {
		return k.Value(a) > k.Value(b)
	}
	if v.IsNull(a) != v.IsNull(b) {
		return v.IsNull(a)
	}
	return v.IsValid(a) && v.Value(a) < v.Value(b)
}
