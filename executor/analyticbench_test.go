package executor

import (
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// BenchmarkAnalytic sorts 100,000 rows and computes one window function. A
// frame of 2000 rows may not cost more than a few times what one of 7 does.
func BenchmarkAnalytic(b *testing.B) {
	alloc := memory.DefaultAllocator
	tb := randomTable(rand.New(rand.NewPCG(1, 1)), alloc, 100_000, 1<<30, arrow.Field{Name: "a", Type: tInt}, arrow.Field{Name: "v", Type: tInt})
	defer tb.rec.Release()
	sliding := func(n int64) expr.Frame {
		return expr.Frame{Start: expr.FrameBound{Kind: expr.Preceding, Offset: n}, End: expr.FrameBound{Kind: expr.CurrentRow}}
	}
	count := &expr.AggCall{Func: countAgg, Name: "count"}
	for _, c := range []struct {
		name string
		call expr.AnalyticCall
	}{
		{"row_number", expr.AnalyticCall{Kind: expr.RowNumber, DT: tInt32}},
		{"lag", expr.AnalyticCall{Kind: expr.Lag, N: 1, Args: exprs(tb.col("v")), DT: tInt}},
		{"running", expr.AnalyticCall{Agg: count, DT: tInt, Frame: expr.Frame{End: expr.FrameBound{Kind: expr.CurrentRow}}}},
		{"7 rows", expr.AnalyticCall{Agg: count, DT: tInt, Frame: sliding(6)}},
		{"2000 rows", expr.AnalyticCall{Agg: count, DT: tInt, Frame: sliding(1999)}},
	} {
		b.Run(c.name, func(b *testing.B) {
			n := &physical.Analytic{Order: []expr.SortKey{{Expr: tb.col("a")}}, Calls: []*expr.AnalyticCall{&c.call}}
			wrap := func(in physical.Node) physical.Node { return &physical.Limit{Input: windowPlan(tb, n)(in), Count: 1} }
			e := newEngine(b, alloc, onePlan(tb, wrap), 1)
			defer e.close()
			e.sources["src"] = &memSource{splits: [][]arrow.RecordBatch{{tb.rec}}}
			for i := range b.N {
				e.run(batch.ID(i), batch.NoTime, batch.NoTime)
			}
		})
	}
}
