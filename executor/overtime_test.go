package executor

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// TestRowsComeOutAsTheWatermarkPassesThem holds lag(v, 2), which needs two rows
// before, and row_number, which needs all or the first few, against the rows that
// were on time.
func TestRowsComeOutAsTheWatermarkPassesThem(t *testing.T) {
	for _, back := range []physical.Lookback{{Rows: 2}, {Rows: -1}, {First: 3}} {
		for _, parts := range []int{1, 3} {
			t.Run(fmt.Sprint(back, " ", parts), func(t *testing.T) { checkOverTime(t, back, parts) })
		}
	}
}

func checkOverTime(t *testing.T, back physical.Lookback, parts int) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(uint64(parts), uint64(back.Rows)))
	const n, batches = 400, 20
	tb, rows := timed(r, alloc, n)
	defer tb.rec.Release()
	keys := exprs(tb.col("k"))
	flagged := withFields(tb.schema, false, arrow.Field{Name: "new", Type: tBool})
	call, out := &expr.AnalyticCall{Kind: expr.Lag, Args: exprs(tb.col("v")), N: 2, DT: tInt, Null: true}, arrow.Field{Name: "x", Type: tInt, Nullable: true}
	if back.Rows != 2 {
		call, out.Type = &expr.AnalyticCall{Kind: expr.RowNumber, DT: arrow.PrimitiveTypes.Int32}, arrow.PrimitiveTypes.Int32
	}
	all := withFields(flagged, false, out)
	order := []expr.SortKey{{Expr: tb.col("ts"), NullsFirst: true}, {Expr: tb.col("v"), NullsFirst: true}}
	table := &physical.WorkTable{ID: 7, Out: flagged}
	values := &physical.Analytic{Input: &physical.Sort{Input: table, Keys: append([]expr.SortKey{{Expr: keys[0], NullsFirst: true}}, order...)},
		Partition: keys, Order: order, Calls: []*expr.AnalyticCall{call}, Out: all}
	late := &physical.LateFilter{Input: &physical.Scan{Source: "src", Out: tb.schema}, End: tb.col("ts"), Operator: "o"}
	e := newEngine(t, alloc, &physical.Plan{Stages: []*physical.Stage{
		{ID: 0, Root: late, Kind: physical.Splits, Output: physical.ToHash{Keys: keys}, Sources: []string{"src"}},
		{ID: 1, Root: &physical.OverTime{Input: &physical.ExchangeRead{Out: tb.schema}, Keys: keys, Time: tb.col("ts"), Late: true, Back: back, Table: 7,
			Body: &physical.Filter{Input: values, Cond: column(all, 4)}, Operator: "o"},
			Kind: physical.Hash, Output: physical.ToClient{}, Inputs: []int{0}, Stateful: []string{"o"}},
	}}, parts)
	defer e.close()
	marks := watermarks(rows, batches)
	var got []string
	var taken []timedRow
	for id := range batches + 1 {
		from, to := min(n, n*id/batches), min(n, n*(id+1)/batches)
		e.sources["src"] = tb.cut(r, from, to, 2)
		fresh := e.run(batch.ID(id), marks[id], marks[id])
		e.sources["src"].release()
		got = accumulate(t, got, fresh, false, func(c []string) string { return c[3] + " " + c[5] })
		for _, row := range rows[from:to] {
			if marks[id] == batch.NoTime || batch.EventTime(row.ts) > marks[id] {
				taken = append(taken, row)
			}
		}
		want := overTimeOf(taken, marks[id], back)
		if back.First > 0 { // of the others nothing is known but that they are behind
			got = slices.DeleteFunc(got, func(line string) bool { return !slices.Contains(want, line) })
		}
		sameRows(t, fmt.Sprintf("batch %d", id), got, want)
		if back.Rows >= 0 {
			for name, shard := range e.state.shards {
				if most := 2*int(max(back.Rows, back.First)+1)*3 + 2*25*3; len(shard) > most {
					t.Fatalf("batch %d: %s holds %d rows, more than %d", id, name, len(shard), most)
				}
			}
		}
	}
}

// overTimeOf works lag(v, 2) or row_number out for the rows that a watermark has passed.
func overTimeOf(rows []timedRow, mark batch.EventTime, back physical.Lookback) []string {
	sorted := slices.Clone(rows)
	slices.SortFunc(sorted, func(a, b timedRow) int {
		if a.ts != b.ts {
			return int(a.ts - b.ts)
		}
		return int(a.v - b.v)
	})
	var out []string
	seen := map[int64][]int64{}
	for _, row := range sorted {
		before := seen[row.k]
		seen[row.k] = append(before, row.v)
		number := int64(len(before) + 1)
		if mark == batch.NoTime || batch.EventTime(row.ts) > mark || back.First > 0 && number > back.First {
			continue
		}
		x := fmt.Sprint(number)
		if back.Rows == 2 {
			if x = "(null)"; len(before) >= 2 {
				x = fmt.Sprint(before[len(before)-2])
			}
		}
		out = append(out, fmt.Sprint(row.v, " ", x))
	}
	return out
}
