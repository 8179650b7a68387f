package executor

import (
	"fmt"
	"math/rand/v2"
	"slices"
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

// lessThan is < for BIGINT, which these tests bring along.
func lessThan(a, b expr.Expr) expr.Expr {
	kernel := func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		out := array.NewBooleanBuilder(kc.Alloc)
		defer out.Release()
		at := func(v expr.Vec, i int) (int64, bool) {
			if v.Const {
				i = 0
			}
			return v.Arr.(*array.Int64).Value(i), v.Arr.IsValid(i)
		}
		for i := range n {
			x, ok1 := at(args[0], i)
			y, ok2 := at(args[1], i)
			if !ok1 || !ok2 {
				out.AppendNull()
				continue
			}
			out.Append(x < y)
		}
		return out.NewArray(), nil
	}
	return &expr.Call{Func: &expr.Function{Name: "<", Infix: "<", Strict: true, Total: true, Kernel: kernel}, Args: []expr.Expr{a, b}, DT: expr.TypeBool, Null: true}
}

// fallSpec is (START DOWN+ UP): UP is above the lowest, and DOWN has a bounded sum.
func fallSpec(tb *table, all bool, within int64) *expr.MatchSpec {
	v := tb.col("v")
	s := &expr.MatchSpec{Vars: []string{"START", "DOWN", "UP"}, AllRows: all, Skip: expr.SkipToNext, Within: within}
	slot := func(x expr.MatchSlot) expr.Expr {
		x.DT = tInt
		if x.Kind == expr.SlotClassifier {
			x.DT = tString
		}
		i := s.Slot(x)
		return &expr.Column{Index: i, Name: "slot", DT: x.DT, Null: true}
	}
	one := func(i int) *expr.MatchPattern { return &expr.MatchPattern{Op: expr.PatternVar, Var: i} }
	s.Pattern = &expr.MatchPattern{Op: expr.PatternSeq, Items: []*expr.MatchPattern{
		one(0), {Op: expr.PatternRepeat, Min: 1, Max: -1, Items: []*expr.MatchPattern{one(1)}}, one(2),
	}}
	value := expr.MatchSlot{Kind: expr.SlotValue, Value: v}
	before, low, total := value, value, expr.MatchSlot{Kind: expr.SlotAggregate, Vars: []int{1}, Agg: call("sum", v)}
	before.Offset = -1
	low.Vars = []int{1}
	down := &expr.Logical{Op: expr.And, Args: []expr.Expr{lessThan(slot(value), slot(before)), lessThan(slot(total), expr.Int64(9))}}
	s.Define = []expr.Expr{nil, down, lessThan(slot(low), slot(value))}
	first := value
	first.First = true
	s.Measures = []expr.Expr{slot(expr.MatchSlot{Kind: expr.SlotNumber}), slot(first), slot(low), slot(total), slot(expr.MatchSlot{Kind: expr.SlotClassifier})}
	s.Cols, s.Names = []int{0, ^0, ^1, ^2, ^3, ^4}, []string{"k", "n", "first", "low", "total", "var"}
	if all {
		s.Cols, s.Names = append(s.Cols, 2), append(s.Names, "v")
	}
	return s
}

// fallPlan finds the pattern in batch, or as a stream under a watermark.
func fallPlan(tb *table, all bool, within int64, stream bool) *physical.Plan {
	spec := fallSpec(tb, all, within)
	m := physical.Match{Partition: exprs(tb.col("k")), Order: []expr.SortKey{{Expr: tb.col("t"), NullsFirst: true}}, Spec: spec, Out: spec.Columns(tb.schema)}
	var root physical.Node
	read := &physical.ExchangeRead{Out: tb.schema}
	if stream {
		m.Input = &physical.LateFilter{Input: read, End: tb.col("t"), Operator: "match"}
		root = &physical.StatefulMatch{Match: m, Operator: "match"}
	} else {
		m.Input = &physical.Sort{Input: read, Keys: append([]expr.SortKey{{Expr: tb.col("k"), NullsFirst: true}}, m.Order...)}
		root = &m
	}
	stage := &physical.Stage{ID: 1, Root: root, Kind: physical.Hash, Output: physical.ToClient{}, Inputs: []int{0}}
	if stream {
		stage.Stateful = []string{"match"}
	}
	return &physical.Plan{Stages: []*physical.Stage{
		{ID: 0, Root: &physical.Scan{Source: "src", Out: tb.schema}, Kind: physical.Splits, Output: physical.ToHash{Keys: exprs(tb.col("k"))}, Sources: []string{"src"}},
		stage,
	}}
}

// walk is rows of (k, t, v) with equal times and rows that are wholly equal.
func walk(r *rand.Rand, alloc memory.Allocator, n int) *table {
	tTime := &arrow.TimestampType{Unit: arrow.Microsecond}
	k, t, v := array.NewInt64Builder(alloc), array.NewTimestampBuilder(alloc, tTime), array.NewInt64Builder(alloc)
	defer k.Release()
	defer t.Release()
	defer v.Release()
	at := int64(0)
	for range n {
		at += r.Int64N(4)
		k.Append(r.Int64N(4))
		t.Append(arrow.Timestamp(at))
		v.Append(r.Int64N(6))
	}
	return newTable(arrow.NewSchema([]arrow.Field{{Name: "k", Type: tInt}, {Name: "t", Type: tTime}, {Name: "v", Type: tInt}}, nil),
		[]arrow.Array{k.NewArray(), t.NewArray(), v.NewArray()})
}

// TestMatchOverAStream holds what comes out of many batches, some of them without
// rows, against what comes out of one; state shrinks to nothing at the end.
func TestMatchOverAStream(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
			defer alloc.AssertSize(t, 0)
			r := rand.New(rand.NewPCG(seed, 13))
			const n = 400
			all, within := seed%2 == 0, int64(seed%3)*20
			tb := walk(r, alloc, n)
			defer tb.rec.Release()
			b := newEngine(t, alloc, fallPlan(tb, all, within, false), 1+r.IntN(4))
			defer b.close()
			b.sources["src"] = tb.cut(r, 0, n, 3)
			want := b.run(0, batch.NoTime, batch.NoTime)
			b.sources["src"].release()
			if len(want) < 20 {
				t.Fatalf("only %d rows", len(want))
			}
			e := newEngine(t, alloc, fallPlan(tb, all, within, true), 1+r.IntN(4))
			defer e.close()
			var got []string
			times := tb.rec.Column(1).(*array.Timestamp)
			mark, most := batch.NoTime, 0
			id := batch.ID(0)
			for from := 0; from < n; id++ {
				end := min(n, from+r.IntN(40))
				e.sources["src"] = tb.cut(r, from, end, 2)
				closing := mark
				if from > 0 { // no row to come is earlier than the next one
					closing = max(mark, batch.EventTime(times.Value(from-1))-1)
				}
				if end < n {
					closing = min(closing, batch.EventTime(times.Value(end))-1)
				}
				got = append(got, e.run(id, mark, closing)...)
				e.sources["src"].release()
				mark, from = max(mark, closing), end
				most = max(most, e.kept())
			}
			e.sources["src"] = tb.cut(r, n, n, 2)
			got = append(got, e.run(id, mark, batch.EndOfTime)...)
			sameRows(t, "stream", got, want)
			if kept := e.kept(); kept != 0 || most > 160 {
				t.Errorf("%d rows of state are left; there were up to %d", kept, most)
			}
			for _, res := range e.results {
				if res.Counters.Late != 0 {
					t.Errorf("%d rows are late", res.Counters.Late)
				}
			}
		})
	}
}

// kept counts the rows of state.
func (e *engine) kept() (n int) {
	for _, rows := range e.state.shards {
		n += len(rows)
	}
	return n
}

// TestMatchMeasures checks a match by hand: 5 3 1 4 falls by two rows.
func TestMatchMeasures(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(1, 1))
	tb := walk(r, alloc, 0)
	tb.rec.Release()
	tb = rowsOf(alloc, tb.schema, "1 0 5", "1 1 3", "1 2 1", "1 3 4")
	defer tb.rec.Release()
	e := newEngine(t, alloc, fallPlan(tb, true, 40, false), 1)
	defer e.close()
	e.sources["src"] = tb.cut(r, 0, 4, 1)
	got := e.run(0, batch.NoTime, batch.NoTime)
	e.sources["src"].release()
	want := []string{"1 1 5 NULL NULL START 5", "1 1 5 3 3 DOWN 3", "1 1 5 1 4 DOWN 1", "1 1 5 1 4 UP 4", "1 2 3 NULL NULL START 3", "1 2 3 1 1 DOWN 1", "1 2 3 1 1 UP 4"}
	for i, row := range got {
		got[i] = strings.TrimSpace(strings.NewReplacer("|", " ", `"`, "", "(null)", "NULL", "<nil>", "NULL").Replace(row))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// rowsOf makes a table of numbers and times.
func rowsOf(alloc memory.Allocator, schema *arrow.Schema, rows ...string) *table {
	b := array.NewRecordBuilder(alloc, schema)
	defer b.Release()
	for _, row := range rows {
		for c, text := range strings.Fields(row) {
			v, _ := strconv.ParseInt(text, 10, 64) // numbers of this file
			switch f := b.Field(c).(type) {
			case *array.Int64Builder:
				f.Append(v)
			case *array.TimestampBuilder:
				f.Append(arrow.Timestamp(v))
			}
		}
	}
	rec := b.NewRecordBatch()
	defer rec.Release()
	return newTable(schema, retained(rec.Columns()))
}
