package executor

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// changing is a table of (k, v) with the change column: inserts of random rows
// and deletions of rows that are there, in files of batch rows.
func changing(r *rand.Rand, alloc memory.Allocator, n int) *table {
	k, v, op := array.NewInt64Builder(alloc), array.NewInt64Builder(alloc), array.NewInt8Builder(alloc)
	defer k.Release()
	defer v.Release()
	defer op.Release()
	var there [][2]int64
	for range n {
		if len(there) > 0 && r.IntN(3) == 0 {
			i := r.IntN(len(there))
			k.Append(there[i][0])
			v.Append(there[i][1])
			op.Append(int8([]batch.Op{batch.Delete, batch.UpdateBefore}[r.IntN(2)]))
			there = slices.Delete(there, i, i+1)
			continue
		}
		row := [2]int64{r.Int64N(6), r.Int64N(5)}
		there = append(there, row)
		k.Append(row[0])
		v.Append(row[1])
		op.Append(int8([]batch.Op{batch.Insert, batch.UpdateAfter}[r.IntN(2)]))
	}
	return newTable(arrow.NewSchema([]arrow.Field{{Name: "k", Type: tInt}, {Name: "v", Type: tInt}, {Name: batch.OpColumn, Type: arrow.PrimitiveTypes.Int8}}, nil),
		[]arrow.Array{k.NewArray(), v.NewArray(), op.NewArray()})
}

// countPlan lists the distinct values of v per k, by recomputation; keyless
// counts all rows.
func countPlan(tb *table, keyless bool) *physical.Plan {
	rows := arrow.NewSchema(tb.schema.Fields()[:2], nil)
	keys := exprs(tb.col("k"))
	aggs := []*expr.AggCall{call("count"), call("list", tb.col("v"))}
	aggs[1].OrderBy = []expr.SortKey{{Expr: tb.col("v")}}
	out := physical.Output(physical.ToHash{Keys: keys})
	if keyless {
		keys, out = nil, physical.ToOne{}
	}
	body := &physical.CompleteAggregate{Input: &physical.WorkTable{ID: 7, Out: rows}, Keys: keys, Aggs: aggs, Out: aggSchema(rows, keys, resultTypes(aggs), false)}
	root := &physical.Recompute{
		In: []physical.Node{&physical.ExchangeRead{Out: tb.schema}}, Keys: [][]expr.Expr{keys}, Static: []bool{false}, Tables: []int{7}, Body: body,
		EndKey: -1, Operator: "agg", Out: aggSchema(rows, keys, resultTypes(aggs), true),
	}
	kind := physical.Hash
	if keyless {
		kind = physical.Single
	}
	return &physical.Plan{Stages: []*physical.Stage{
		{ID: 0, Root: &physical.Scan{Source: "src", Out: tb.schema}, Kind: physical.Splits, Output: out, Sources: []string{"src"}},
		{ID: 1, Root: root, Kind: kind, Output: physical.ToClient{}, Inputs: []int{0}, Stateful: []string{"agg"}},
	}}
}

// TestRecomputeEqualsTheBatch holds what the changes have added up to, after each
// batch, against the groups counted from the rows that are there.
func TestRecomputeEqualsTheBatch(t *testing.T) {
	for _, keyless := range []bool{false, true} {
		for _, parts := range []int{1, 4} {
			t.Run(fmt.Sprint(keyless, parts), func(t *testing.T) { checkRecompute(t, keyless, parts) })
		}
	}
}

func checkRecompute(t *testing.T, keyless bool, parts int) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(uint64(parts), 9))
	const n, batches = 600, 15
	tb := changing(r, alloc, n)
	defer tb.rec.Release()
	if keyless {
		parts = 1
	}
	e := newEngine(t, alloc, countPlan(tb, keyless), parts)
	defer e.close()
	var result []string
	for id := range batches {
		from, to := n*id/batches, n*(id+1)/batches
		e.sources["src"] = tb.cut(r, from, to, 2)
		for _, row := range e.run(batch.ID(id), batch.NoTime, batch.NoTime) {
			at := strings.LastIndex(strings.TrimSuffix(row, "|"), "|") + 1
			if text, op := row[:at], row[at:]; op == `"0"|` || op == `"2"|` {
				result = append(result, text)
			} else if i := slices.Index(result, text); i >= 0 {
				result = slices.Delete(result, i, i+1)
			} else {
				t.Fatalf("batch %d takes back %s, which is not there", id, text)
			}
		}
		e.sources["src"].release()
		sameRows(t, fmt.Sprintf("batch %d", id), result, counted(tb, id, n, batches, keyless))
	}
}

// counted groups the rows that are there after batch id.
func counted(tb *table, id, n, batches int, keyless bool) []string {
	there := map[string][]int64{}
	if keyless {
		there[""] = nil
	}
	k, v, op := tb.rec.Column(0).(*array.Int64), tb.rec.Column(1).(*array.Int64), tb.rec.Column(2).(*array.Int8)
	for i := range n * (id + 1) / batches {
		key := fmt.Sprintf("%q|", fmt.Sprint(k.Value(i)))
		if keyless {
			key = ""
		}
		if o := batch.Op(op.Value(i)); o == batch.Insert || o == batch.UpdateAfter {
			there[key] = append(there[key], v.Value(i))
		} else {
			at := slices.Index(there[key], v.Value(i))
			there[key] = slices.Delete(there[key], at, at+1)
		}
	}
	var out []string
	for key, vs := range there {
		if len(vs) == 0 && !keyless {
			continue
		}
		slices.Sort(vs)
		g := oracleGroup{}
		for _, x := range vs {
			g.rows = append(g.rows, fmt.Sprint(x))
		}
		if len(vs) == 0 {
			out = append(out, key+`"0"|"(null)"|`)
			continue
		}
		out = append(out, key+g.text())
	}
	return out
}

func TestARowThatIsNotThereCannotBeTakenBack(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	tb := changing(rand.New(rand.NewPCG(1, 1)), alloc, 50)
	defer tb.rec.Release()
	ops := tb.rec.Column(2).(*array.Int8)
	at := 0
	for batch.Op(ops.Value(at)) == batch.Insert || batch.Op(ops.Value(at)) == batch.UpdateAfter {
		at++
	}
	e := newEngine(t, alloc, countPlan(tb, false), 1)
	defer e.close()
	e.sources["src"] = tb.cut(rand.New(rand.NewPCG(1, 1)), at, at+1, 1)
	defer e.sources["src"].release()
	if _, err := e.runTask(e.plan.Stages[0], 0, 0, batch.NoTime, batch.NoTime); err != nil {
		t.Fatal(err)
	}
	if _, err := e.runTask(e.plan.Stages[1], 0, 0, batch.NoTime, batch.NoTime); err == nil || !strings.Contains(err.Error(), "takes back a row") {
		t.Error(err)
	}
}

func TestSuccessor(t *testing.T) {
	for in, want := range map[string]string{"a": "b", "a\xff": "b", "\xff\xff": "", "": ""} {
		if got := string(successor([]byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
