package executor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

const second = int64(1e6)

// streamPlan counts and lists by (window, key) with state: scan, watermark,
// window of 10 s, late filter, partial, exchange, stateful.
func streamPlan(tb *table, mode string, windowed, having bool) *physical.Plan {
	var node physical.Node = &physical.Scan{Source: "src", Out: tb.schema}
	keys := exprs(tb.col("k"))
	end, shift := -1, int64(0)
	if windowed {
		fields := append([]arrow.Field{}, tb.schema.Fields()...)
		for _, n := range []string{"window_start", "window_end", "window_time"} {
			fields = append(fields, arrow.Field{Name: n, Type: tTime, Nullable: true})
		}
		out := arrow.NewSchema(fields, nil)
		node = &physical.Watermark{Input: node, Col: 0, Source: "src"}
		node = &physical.Window{Input: node, Kind: logical.Tumble, Time: tb.col("ts"), Size: 10 * second, Out: out}
		// The window is the second key: state must find it all the same. With HAVING
		// it is the window's start, so that shifts are seen too.
		at := len(fields) - 2
		if having {
			at, shift = len(fields)-3, 10*second
		}
		node = &physical.LateFilter{Input: node, End: column(out, at), Shift: shift, Operator: "agg"}
		keys, end = append(keys, column(out, at)), 1
	}
	aggs := []*expr.AggCall{call("count"), call("list", tb.col("v"))}
	part := &physical.PartialAggregate{Input: node, Keys: keys, Aggs: aggs, Out: aggSchema(tb.schema, keys, stateTypes(aggs), false)}
	to := make([]expr.Expr, len(keys))
	for i := range keys {
		to[i] = column(part.Out, i)
	}
	state := &physical.StatefulAggregate{Input: &physical.ExchangeRead{Out: part.Out}, NKeys: len(keys), EndKey: end, EndShift: shift, Aggs: aggs, Mode: mode,
		Operator: "agg", Out: aggSchema(tb.schema, keys, resultTypes(aggs), mode != "append")}
	if having {
		state.Having = &expr.Call{Func: less, Args: []expr.Expr{expr.Int64(havingRows), column(state.Out, len(keys))}, DT: tBool, Null: true}
		state.Having = &expr.Logical{Op: expr.And, Args: []expr.Expr{state.Having, &expr.Call{Func: notFour, Args: []expr.Expr{column(state.Out, len(keys))}, DT: tBool, Null: true}}}
	}
	return &physical.Plan{Stages: []*physical.Stage{
		{ID: 0, Root: part, Kind: physical.Splits, Output: physical.ToHash{Keys: to}, Sources: []string{"src"}},
		{ID: 1, Root: state, Kind: physical.Hash, Output: physical.ToClient{}, Inputs: []int{0}, Stateful: []string{"agg"}},
	}}
}

// havingRows is the condition of the tests' HAVING: count(*) > havingRows and
// not a multiple of four, so that groups come and go.
const havingRows = 3

// notFour is n % 4 <> 0.
var notFour = &expr.Function{Name: "not_four", Strict: true, Kernel: func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	b := array.NewBooleanBuilder(kc.Alloc)
	defer b.Release()
	for i := range n {
		b.Append(args[0].Arr.(*array.Int64).Value(i)%4 != 0)
	}
	return b.NewArray(), nil
}}

// events are mostly in order, with times before 1970 too.
func events(r *rand.Rand, alloc memory.Allocator, n int) *table {
	ts, k, v := array.NewTimestampBuilder(alloc, tTime), array.NewBuilder(alloc, tDict), array.NewInt64Builder(alloc)
	defer ts.Release()
	defer k.Release()
	defer v.Release()
	for i := range n {
		at := (int64(i)-int64(n)/2)*second/4 - r.Int64N(8*second)
		if r.IntN(40) == 0 {
			ts.AppendNull()
		} else {
			ts.Append(arrow.Timestamp(at))
		}
		appendDomain(r, k, 4, true)
		v.Append(int64(i))
	}
	return newTable(arrow.NewSchema([]arrow.Field{{Name: "ts", Type: tTime, Nullable: true}, {Name: "k", Type: tDict, Nullable: true},
		{Name: "v", Type: tInt, Nullable: true}}, nil), []arrow.Array{ts.NewArray(), k.NewArray(), v.NewArray()})
}

// oracle keeps each (key, window) in a map, batch by batch, row by row.
type oracle struct {
	groups map[string]*oracleGroup
	max    int64
	late   int64
	having bool
}

type oracleGroup struct {
	key  string
	end  int64
	rows []string
}

func (o *oracle) feed(tb *table, from, to int, watermark int64, windowed bool) (touched []string) {
	ts := tb.rec.Column(0).(*array.Timestamp)
	for i := from; i < to; i++ {
		key := rowText(tb.rec.Columns()[1:2], i)
		g := &oracleGroup{key: key, end: math.MaxInt64}
		if windowed {
			if ts.IsNull(i) {
				continue
			}
			t := int64(ts.Value(i))
			o.max = max(o.max, t)
			start := int64(math.Floor(float64(t)/float64(10*second))) * 10 * second
			g.end = start + 10*second
			if g.end <= watermark {
				o.late++
				continue
			}
			shown := g.end
			if o.having {
				shown = start
			}
			g.key += fmt.Sprintf("%q|", arrow.Timestamp(shown).ToTime(arrow.Microsecond).Format("2006-01-02T15:04:05"))
		}
		if o.groups[g.key] == nil {
			o.groups[g.key] = g
		}
		g = o.groups[g.key]
		g.rows = append(g.rows, tb.rec.Column(2).ValueStr(i))
		if !slices.Contains(touched, g.key) {
			touched = append(touched, g.key)
		}
	}
	return touched
}

func (g *oracleGroup) text() string {
	return fmt.Sprintf("%q|%q|", fmt.Sprint(len(g.rows)), strings.Join(g.rows, ","))
}

func TestStatefulAggregateEqualsTheOracleInEveryMode(t *testing.T) {
	for _, mode := range []string{"append", "update", "complete", "changelog"} {
		for _, windowed := range []bool{true, false} {
			for _, parts := range []int{1, 5} {
				for _, having := range []bool{false, true} {
					t.Run(fmt.Sprint(mode, windowed, parts, having), func(t *testing.T) { checkStateful(t, mode, windowed, having, parts) })
				}
			}
		}
	}
}

func checkStateful(t *testing.T, mode string, windowed, having bool, parts int) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(uint64(parts), uint64(len(mode))))
	const n, batches = 900, 12
	tb := events(r, alloc, n)
	defer tb.rec.Release()
	e := newEngine(t, alloc, streamPlan(tb, mode, windowed, having), parts)
	defer e.close()
	o := &oracle{groups: map[string]*oracleGroup{}, max: math.MinInt64, having: having}
	wm := batch.NoTime
	for id := range batches + 1 {
		from, to := n*id/batches, min(n*(id+1)/batches, n)
		if id == batches { // a batch without data closes the rest
			from, to = n, n
		}
		e.sources["src"] = tb.cut(r, from, to, 2)
		old := map[string]oracleGroup{}
		for k, g := range o.groups {
			old[k] = *g
		}
		touched := o.feed(tb, from, to, int64(wm), windowed)
		closing := wm // what this batch closes: the watermark through the batch before
		if id == batches {
			closing = batch.EndOfTime
		}
		e.results = nil
		got := e.run(batch.ID(id), wm, closing)
		sameRows(t, fmt.Sprintf("batch %d", id), got, o.expect(mode, windowed, touched, old, closing))
		var late, rows int64
		due := batch.EndOfTime
		for _, res := range e.results {
			late, rows, due = late+res.Counters.Late, rows+res.Counters.StateRows, min(due, res.NextDue)
		}
		if rows != int64(len(o.groups)) || late != o.late {
			t.Fatalf("batch %d: %d rows of state, %d late; want %d, %d", id, rows, late, len(o.groups), o.late)
		}
		o.late = 0
		if want := o.due(windowed); due != want {
			t.Fatalf("batch %d: next due %s, want %s", id, due, want)
		}
		if windowed && o.max > math.MinInt64 {
			wm = max(wm, batch.EventTime(o.max-3*second))
		}
		e.sources["src"].release()
	}
}

func (o *oracle) due(windowed bool) batch.EventTime {
	due := batch.EndOfTime
	for _, g := range o.groups {
		if windowed {
			due = min(due, batch.EventTime(g.end))
		}
	}
	return due
}

func (o *oracle) shows(g oracleGroup) bool {
	return len(g.rows) > 0 && (!o.having || len(g.rows) > havingRows && len(g.rows)%4 != 0)
}

// expect lists the rows that a batch emits, and lets closed groups go.
func (o *oracle) expect(mode string, windowed bool, touched []string, old map[string]oracleGroup, closing batch.EventTime) (want []string) {
	const ins, before, after, del = `"0"|`, `"1"|`, `"2"|`, `"3"|`
	for _, k := range touched {
		g, was := o.groups[k], old[k]
		shows, showed := o.shows(*g), o.shows(was)
		switch {
		case mode == "append" || mode == "complete":
		case !shows && showed:
			want = append(want, k+was.text()+del)
		case shows && mode == "update" && (showed || was.key == ""):
			want = append(want, k+g.text()+after)
		case shows && !showed:
			want = append(want, k+g.text()+ins)
		case shows && was.text() != g.text():
			want = append(want, k+was.text()+before, k+g.text()+after)
		}
	}
	for k, g := range o.groups {
		ended := windowed && closing != batch.NoTime && batch.EventTime(g.end) <= closing
		ended = ended || !windowed && mode == "append" && closing == batch.EndOfTime
		if ended {
			delete(o.groups, k)
			if mode == "append" && o.shows(*g) {
				want = append(want, k+g.text())
			}
		} else if mode == "complete" && o.shows(*g) {
			want = append(want, k+g.text()+ins)
		}
	}
	return want
}

// The list aggregate shows the order: old rows before new ones, and emission by window end.
func TestClosedWindowsComeOutInOrder(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	tb := events(rand.New(rand.NewPCG(1, 1)), alloc, 400)
	defer tb.rec.Release()
	var runs [2][]string
	for i := range runs {
		r := rand.New(rand.NewPCG(uint64(i), 5))
		e := newEngine(t, alloc, streamPlan(tb, "append", true, false), 3)
		for id := range 3 {
			e.sources["src"] = tb.cut(r, 400*id/3, 400*(id+1)/3, 2)
			closing := []batch.EventTime{batch.NoTime, 0, batch.EndOfTime}[id]
			runs[i] = append(runs[i], e.run(batch.ID(id), batch.NoTime, closing)...)
			e.sources["src"].release()
		}
		e.close()
	}
	if !slices.Equal(runs[0], runs[1]) {
		t.Error("other batch cuts give another order")
	}
	if len(runs[0]) == 0 {
		t.Error("nothing came out")
	}
}

func TestGlobalAggregateEmitsWithoutInput(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	tb := events(rand.New(rand.NewPCG(1, 1)), alloc, 10)
	defer tb.rec.Release()
	for mode, want := range map[string][3]string{
		"complete": {`["0"|"(null)"|"0"|]`, `["0"|"(null)"|"0"|]`, `["2"|"0,1"|"0"|]`},
		"update":   {`["0"|"(null)"|"2"|]`, `[]`, `["2"|"0,1"|"2"|]`},
	} {
		aggs := []*expr.AggCall{call("count"), call("list", tb.col("v"))}
		part := &physical.PartialAggregate{Input: &physical.Scan{Source: "src", Out: tb.schema}, Aggs: aggs, Out: aggSchema(nil, nil, stateTypes(aggs), false)}
		state := &physical.StatefulAggregate{Input: &physical.ExchangeRead{Out: part.Out}, EndKey: -1, Aggs: aggs, Mode: mode, Operator: "agg", Global: true,
			Out: aggSchema(nil, nil, resultTypes(aggs), true)}
		e := newEngine(t, alloc, &physical.Plan{Stages: []*physical.Stage{
			{ID: 0, Root: part, Kind: physical.Splits, Output: physical.ToOne{}, Sources: []string{"src"}},
			{ID: 1, Root: state, Kind: physical.Single, Output: physical.ToClient{}, Inputs: []int{0}, Stateful: []string{"agg"}},
		}}, 1)
		for id, rows := range []int{0, 0, 2} {
			e.sources["src"] = tb.cut(rand.New(rand.NewPCG(1, 1)), 0, rows, 1)
			if got := fmt.Sprint(e.run(batch.ID(id), batch.NoTime, batch.NoTime)); got != want[id] {
				t.Errorf("%s batch %d: %s, want %s", mode, id, got, want[id])
			}
			e.sources["src"].release()
		}
		e.close()
	}
}

// DISTINCT over a stream is an aggregate without aggregates.
func TestDistinctAsAChangelogInsertsEachKeyOnce(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	tb := events(rand.New(rand.NewPCG(1, 1)), alloc, 100)
	defer tb.rec.Release()
	for _, mode := range []string{"changelog", "append"} {
		keys := exprs(tb.col("k"))
		part := &physical.PartialAggregate{Input: &physical.Scan{Source: "src", Out: tb.schema}, Keys: keys, Out: aggSchema(nil, keys, nil, false)}
		state := &physical.StatefulAggregate{Input: &physical.ExchangeRead{Out: part.Out}, NKeys: 1, EndKey: -1, Mode: mode, Operator: "d",
			Out: aggSchema(nil, keys, nil, mode == "changelog")}
		e := newEngine(t, alloc, &physical.Plan{Stages: []*physical.Stage{
			{ID: 0, Root: part, Kind: physical.Splits, Output: physical.ToHash{Keys: []expr.Expr{column(part.Out, 0)}}, Sources: []string{"src"}},
			{ID: 1, Root: state, Kind: physical.Hash, Output: physical.ToClient{}, Inputs: []int{0}, Stateful: []string{"d"}},
		}}, 2)
		var got []string
		for id := range 4 {
			e.sources["src"] = tb.cut(rand.New(rand.NewPCG(1, 1)), 25*id, 25*id+25, 1)
			got = append(got, e.run(batch.ID(id), batch.NoTime, batch.NoTime)...)
			e.sources["src"].release()
		}
		want := []string{`"(null)"|`, `"0"|`, `"1"|`, `"2"|`, `"3"|`}
		if mode == "changelog" {
			for i := range want {
				want[i] += `"0"|`
			}
		}
		sameRows(t, mode, got, want)
		e.close()
	}
}
