package executor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
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

// windowTable has a partition key p, an order key a, a value v, a filter f and
// the bounds of ranges: lo is a-2 and hi is a+3, or NULL, as after an overflow,
// for some rows with the least and the greatest keys.
func windowTable(r *rand.Rand, alloc memory.Allocator, n, domain int) *table {
	fields := []arrow.Field{{Name: "p", Type: tString}, {Name: "a", Type: tInt}, {Name: "v", Type: tInt}, {Name: "f", Type: tBool}}
	cols := randomColumns(r, alloc, fieldTypes(fields), n, domain, true)
	least, greatest := int64(1<<62), int64(-1<<62)
	a := cols[1].(*array.Int64)
	for i := range n {
		if a.IsValid(i) {
			least, greatest = min(least, a.Value(i)), max(greatest, a.Value(i))
		}
	}
	for name, by := range map[string]int64{"lo": -2, "hi": 3} {
		b := array.NewInt64Builder(alloc)
		for i := range n {
			v := a.Value(i) + by
			if a.IsNull(i) || v < least-1 || v > greatest+2 {
				b.AppendNull()
			} else {
				b.Append(v)
			}
		}
		fields = append(fields, arrow.Field{Name: name, Type: tInt})
		cols = append(cols, b.NewArray())
		b.Release()
	}
	for i := range fields {
		fields[i].Nullable = true
	}
	return newTable(arrow.NewSchema(fields, nil), cols)
}

func windowPlan(tb *table, n *physical.Analytic) func(physical.Node) physical.Node {
	return func(in physical.Node) physical.Node {
		keys := []expr.SortKey{}
		for _, p := range n.Partition {
			keys = append(keys, expr.SortKey{Expr: p, NullsFirst: true})
		}
		n.Input = &physical.Sort{Input: in, Keys: append(keys, n.Order...)}
		fields := slices.Clone(tb.schema.Fields())
		for i, c := range n.Calls {
			fields = append(fields, arrow.Field{Name: fmt.Sprint("w", i), Type: c.DT, Nullable: true})
		}
		n.Out = arrow.NewSchema(fields, nil)
		return n
	}
}

// randomFrame picks any frame that SQL allows, also empty ones.
func randomFrame(r *rand.Rand, tb *table, order []expr.SortKey) expr.Frame {
	f := expr.Frame{Unit: expr.FrameUnit(r.IntN(3)), Exclude: expr.Exclusion(r.IntN(4))}
	f.Start.Kind = expr.BoundKind(r.IntN(4))
	f.End.Kind = max(f.Start.Kind, expr.BoundKind(1+r.IntN(4)))
	f.Start.Offset, f.End.Offset = int64(r.IntN(40)/(1+r.IntN(20))), int64(r.IntN(40)/(1+r.IntN(20)))
	if f.Unit != expr.FrameRange {
		return f
	}
	offset := func(b *expr.FrameBound) {
		b.Offset = 0
		if b.Kind != expr.Preceding && b.Kind != expr.Following {
			return
		}
		b.Value = tb.col("lo")
		if (b.Kind == expr.Preceding) == order[0].Desc {
			b.Value = tb.col("hi")
		}
		f.Key, f.Desc, f.NullsFirst = tb.col("a"), order[0].Desc, order[0].NullsFirst
	}
	if len(order) != 1 {
		f.Start.Kind, f.End.Kind = expr.CurrentRow, expr.UnboundedFollowing
		return f
	}
	offset(&f.Start)
	offset(&f.End)
	return f
}

func randomCalls(r *rand.Rand, tb *table, order []expr.SortKey) []*expr.AnalyticCall {
	var calls []*expr.AnalyticCall
	for kind := expr.WindowAggregate; kind <= expr.NthValue; kind++ {
		calls = append(calls, &expr.AnalyticCall{Kind: kind, DT: arrow.PrimitiveTypes.Int32, N: 1 + r.Int64N(5)})
	}
	calls[expr.PercentRank].DT, calls[expr.CumeDist].DT = tFloat, tFloat
	lag := calls[expr.Lag]
	lag.N, lag.IgnoreNulls, lag.DT, lag.Args = r.Int64N(7)-3, r.IntN(2) == 0, tInt, exprs(tb.col("v"), tb.col("a"))
	lag.Args = lag.Args[:1+r.IntN(2)]
	nth := calls[expr.NthValue]
	nth.Frame, nth.IgnoreNulls, nth.DT, nth.Args = randomFrame(r, tb, order), r.IntN(2) == 0, tInt, exprs(tb.col("v"))
	if r.IntN(2) == 0 {
		nth.N = -1
	}
	calls = calls[1:]
	frames := []expr.Frame{randomFrame(r, tb, order), randomFrame(r, tb, order), nth.Frame, {End: expr.FrameBound{Kind: expr.UnboundedFollowing}}}
	for i, name := range []string{"list", "sum", "min", "count"} {
		agg := call(name, tb.col("v"))
		if r.IntN(3) == 0 {
			agg.Filter = tb.col("f")
		}
		calls = append(calls, &expr.AnalyticCall{Kind: expr.WindowAggregate, Agg: agg, DT: agg.Type(), Frame: frames[i]})
	}
	return calls
}

// frameOracle computes a call for one row from what the standard says of each other
// row: whether it is in the frame is asked for every row of the partition.
type frameOracle struct {
	tb    *table
	order []expr.SortKey
	rows  []int // of the partition in order
	group []int // number of each row's peers
	first []int // where they start
}

func newFrameOracle(tb *table, order []expr.SortKey, rows []int) *frameOracle {
	o := &frameOracle{tb: tb, order: order, rows: rows, group: make([]int, len(rows)), first: make([]int, len(rows))}
	for i := 1; i < len(rows); i++ {
		o.group[i], o.first[i] = o.group[i-1], o.first[i-1]
		if lessByKeys(tb, order, rows[i-1], rows[i]) {
			o.group[i]++
			o.first[i] = i
		}
	}
	return o
}

// beyond says on which side of a bound of row i row j lies: below zero before.
func (o *frameOracle) beyond(f expr.Frame, b expr.FrameBound, i, j int) int {
	off := int(b.Offset)
	switch b.Kind {
	case expr.UnboundedPreceding:
		return 1
	case expr.UnboundedFollowing:
		return -1
	case expr.Preceding:
		off = -off
	case expr.CurrentRow:
		off = 0
	case expr.Following:
	}
	switch {
	case f.Unit == expr.FrameRows:
		return j - i - off
	case b.Value == nil:
		return o.group[j] - o.group[i] - off
	}
	keys := o.tb.rec.Column(1).(*array.Int64)
	values := o.tb.rec.Column(b.Value.(*expr.Column).Index).(*array.Int64)
	ri, rj := o.rows[i], o.rows[j]
	switch {
	case keys.IsNull(ri) || keys.IsNull(rj):
		return o.group[j] - o.group[i]
	case values.IsNull(ri) && b.Kind == expr.Preceding:
		return 1
	case values.IsNull(ri):
		return -1
	}
	d := int(keys.Value(rj) - values.Value(ri))
	if f.Desc {
		d = -d
	}
	return d
}

func (o *frameOracle) frame(f expr.Frame, i int) []int {
	var out []int
	for j := range o.rows {
		if o.beyond(f, f.Start, i, j) < 0 || o.beyond(f, f.End, i, j) > 0 {
			continue
		}
		peer := o.group[i] == o.group[j]
		switch f.Exclude {
		case expr.ExcludeCurrent:
			if i == j {
				continue
			}
		case expr.ExcludeGroup:
			if peer {
				continue
			}
		case expr.ExcludeTies:
			if peer && i != j {
				continue
			}
		case expr.ExcludeNone:
		}
		out = append(out, o.rows[j])
	}
	return out
}

func (o *frameOracle) text(col, row int) string {
	if row < 0 {
		return "(null)"
	}
	return o.tb.rec.Column(col).ValueStr(row)
}

func (o *frameOracle) value(c *expr.AnalyticCall, i int) string {
	n, peers := len(o.rows), 0
	for _, g := range o.group {
		if g <= o.group[i] {
			peers++
		}
	}
	switch c.Kind {
	case expr.RowNumber:
		return fmt.Sprint(i + 1)
	case expr.Rank:
		return fmt.Sprint(o.first[i] + 1)
	case expr.DenseRank:
		return fmt.Sprint(o.group[i] + 1)
	case expr.PercentRank:
		return floatText(float64(o.first[i]) / float64(max(n-1, 1)))
	case expr.CumeDist:
		return floatText(float64(peers) / float64(n))
	case expr.Ntile:
		var of []int
		for b := range int(c.N) {
			size := n / int(c.N)
			if b < n%int(c.N) {
				size++
			}
			of = append(of, slices.Repeat([]int{b + 1}, size)...)
		}
		return fmt.Sprint(of[i])
	case expr.Lag:
		return o.lag(c, i)
	case expr.NthValue:
		rows := o.present(c, o.frame(c.Frame, i))
		if c.N < 0 {
			slices.Reverse(rows)
		}
		if at := max(c.N, -c.N) - 1; int(at) < len(rows) {
			return o.text(2, rows[at])
		}
		return "(null)"
	case expr.WindowAggregate:
		return o.aggregate(c, o.frame(c.Frame, i))
	}
	panic("no oracle")
}

func floatText(v float64) string {
	b := array.NewFloat64Builder(memory.DefaultAllocator)
	b.Append(v)
	return b.NewArray().ValueStr(0)
}

func (o *frameOracle) present(c *expr.AnalyticCall, rows []int) []int {
	return slices.DeleteFunc(rows, func(row int) bool { return c.IgnoreNulls && o.text(2, row) == "(null)" })
}

func (o *frameOracle) lag(c *expr.AnalyticCall, i int) string {
	off := int(c.N)
	rows := slices.Clone(o.rows[:i])
	slices.Reverse(rows)
	if off < 0 {
		off, rows = -off, slices.Clone(o.rows[i+1:])
	}
	rows = o.present(c, rows)
	switch {
	case off == 0:
		return o.text(2, o.rows[i])
	case off <= len(rows):
		return o.text(2, rows[off-1])
	case len(c.Args) > 1:
		return o.text(1, o.rows[i])
	}
	return "(null)"
}

func (o *frameOracle) aggregate(c *expr.AnalyticCall, rows []int) string {
	var vs []string
	for _, row := range rows {
		if v := o.text(2, row); v != "(null)" && (c.Agg.Filter == nil || o.text(3, row) == "true") {
			vs = append(vs, v)
		}
	}
	switch {
	case c.Agg.Func.Name == "count":
		return fmt.Sprint(len(vs))
	case len(vs) == 0:
		return "(null)"
	case c.Agg.Func.Name == "list":
		return strings.Join(vs, ",")
	}
	sum, least := 0, 1<<62
	for _, v := range vs {
		x, _ := strconv.Atoi(v)
		sum, least = sum+x, min(least, x)
	}
	if c.Agg.Func.Name == "sum" {
		return fmt.Sprint(sum)
	}
	return fmt.Sprint(least)
}

// windowOracle returns the rows that the plan must give, in order.
func windowOracle(tb *table, n *physical.Analytic) []string {
	var keys []expr.SortKey
	for _, p := range n.Partition {
		keys = append(keys, expr.SortKey{Expr: p, NullsFirst: true})
	}
	rows := make([]int, tb.rec.NumRows())
	for i := range rows {
		rows[i] = i
	}
	sort.SliceStable(rows, func(i, j int) bool { return lessByKeys(tb, append(slices.Clone(keys), n.Order...), rows[i], rows[j]) })
	var out []string
	for first := 0; first < len(rows); {
		end := first + 1
		for end < len(rows) && !lessByKeys(tb, keys, rows[first], rows[end]) {
			end++
		}
		o := newFrameOracle(tb, n.Order, rows[first:end])
		for i, row := range o.rows {
			s := rowText(tb.rec.Columns(), row)
			for _, c := range n.Calls {
				s += fmt.Sprintf("%q|", o.value(c, i))
			}
			out = append(out, s)
		}
		first = end
	}
	return out
}

func checkAnalytic(t *testing.T, alloc memory.Allocator, r *rand.Rand, tb *table, n *physical.Analytic, enough int) {
	t.Helper()
	rows := int(tb.rec.NumRows())
	e := newEngine(t, alloc, onePlan(tb, windowPlan(tb, n)), 1)
	defer e.close()
	e.tasks[1].root.(*watched).op.(*analytic).enough = enough
	want := windowOracle(tb, n)
	e.sources["src"] = tb.cut(r, 0, rows, 3)
	defer e.sources["src"].release()
	for id := range 2 { // twice: the operators are reused
		got := e.run(batch.ID(id), batch.NoTime, batch.NoTime)
		if slices.Equal(got, want) {
			continue
		}
		for i := range max(len(got), len(want)) {
			if i >= len(got) || i >= len(want) || got[i] != want[i] {
				t.Fatalf("%s over %d rows: got %d rows, want %d; row %d:\n got %s\nwant %s", n, rows, len(got), len(want), i,
					strings.Join(got[min(i, len(got)):min(i+1, len(got))], ""), strings.Join(want[min(i, len(want)):min(i+1, len(want))], ""))
			}
		}
	}
}

func TestWindowFunctionsEqualTheirDefinition(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() {
		seeds = 15
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 4))
		alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
		tb := windowTable(r, alloc, []int{0, 1, 5, 60, 250}[r.IntN(5)], []int{2, 9, 40}[r.IntN(3)])
		n := &physical.Analytic{}
		if r.IntN(3) > 0 {
			n.Partition = exprs(tb.col("p"))
		}
		n.Order = []expr.SortKey{{Expr: tb.col("a"), Desc: r.IntN(2) == 0, NullsFirst: r.IntN(2) == 0}}
		switch r.IntN(4) {
		case 0:
			n.Order = nil
		case 1:
			n.Order = append(n.Order, expr.SortKey{Expr: tb.col("v")})
		}
		n.Calls = randomCalls(r, tb, n.Order)
		if r.IntN(4) == 0 { // these are computed batch by batch
			n.Calls = slices.DeleteFunc(n.Calls, func(c *expr.AnalyticCall) bool { return c.Kind == expr.WindowAggregate || c.Kind > expr.DenseRank })
		}
		checkAnalytic(t, alloc, r, tb, n, 1+r.IntN(100))
		tb.rec.Release()
		alloc.AssertSize(t, 0)
	}
}

// recut hands batches on in pieces.
type recut struct {
	Operator
	rows int64
	rec  arrow.RecordBatch
	at   int64
}

func (c *recut) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if c.rec == nil {
		var err error
		if c.rec, err = c.Operator.Next(ctx); err != nil {
			c.rec = nil
			return nil, err
		}
		c.at = 0
	}
	end := min(c.at+c.rows, c.rec.NumRows())
	out := c.rec.NewSlice(c.at, end)
	if c.at = end; end == c.rec.NumRows() {
		c.rec.Release()
		c.rec = nil
	}
	return out, nil
}

// TestWindowFunctionsOverSpilledPartitions sends every partition to disk, in
// pages of a few rows, and compares with the definition.
func TestWindowFunctionsOverSpilledPartitions(t *testing.T) {
	seeds, spilled := uint64(60), 0
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 9))
		alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
		tb := windowTable(r, alloc, []int{1, 60, 250, 700}[r.IntN(4)], []int{2, 9, 40}[r.IntN(3)])
		n := &physical.Analytic{}
		if r.IntN(3) > 0 {
			n.Partition = exprs(tb.col("p"))
		}
		n.Order = []expr.SortKey{{Expr: tb.col("a"), Desc: r.IntN(2) == 0, NullsFirst: r.IntN(2) == 0}, {Expr: tb.col("v")}}
		n.Order = n.Order[:1+r.IntN(2)]
		for len(n.Calls) < 6 {
			for _, c := range randomCalls(r, tb, n.Order) {
				if c.Agg != nil || c.Kind == expr.NthValue {
					c.Frame.Exclude = expr.ExcludeNone
				}
				if _, ok := reachOf(&callInput{call: c}); ok {
					n.Calls = append(n.Calls, c)
				}
			}
		}
		rows := int(tb.rec.NumRows())
		e := newEngine(t, alloc, onePlan(tb, windowPlan(tb, n)), 1)
		a := e.tasks[1].root.(*watched).op.(*analytic)
		if !a.streams {
			t.Fatalf("%s does not stream", n)
		}
		e.spill = t.TempDir()
		a.hold, a.pageRows, a.enough = 1, 1+r.IntN(50), 1<<30
		a.in[0] = &recut{Operator: a.in[0], rows: 1 + r.Int64N(100)}
		want := windowOracle(tb, n)
		e.sources["src"] = tb.cut(r, 0, rows, 3)
		e.tasks[1].Measure(true)
		for id := range 2 {
			if got := e.run(batch.ID(id), batch.NoTime, batch.NoTime); !slices.Equal(got, want) {
				for i := range want {
					if i >= len(got) || got[i] != want[i] {
						t.Fatalf("seed %d, %s over %d rows in pages of %d: row %d:\n got %s\nwant %s", seed, n, rows, a.pageRows, i, strings.Join(got[min(i, len(got)):min(i+1, len(got))], ""), want[i])
					}
				}
			}
		}
		if e.tasks[1].Stats()[0].Spilled > 0 {
			spilled++
		}
		e.sources["src"].release()
		e.close()
		tb.rec.Release()
		alloc.AssertSize(t, 0)
	}
	if spilled < int(seeds)/2 {
		t.Errorf("only %d of %d runs spilled", spilled, seeds)
	}
}

// Many rows make levels of nodes and several batches of frames.
func TestFramesOfManyRows(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	tb := windowTable(r, alloc, 4500, 3)
	defer tb.rec.Release()
	n := &physical.Analytic{Partition: exprs(tb.col("p")), Order: []expr.SortKey{{Expr: tb.col("a")}}}
	running := expr.Frame{End: expr.FrameBound{Kind: expr.CurrentRow}}
	sliding := expr.Frame{Start: expr.FrameBound{Kind: expr.Preceding, Offset: 700}, End: expr.FrameBound{Kind: expr.Preceding, Offset: 3}}
	for _, f := range []expr.Frame{running, sliding} {
		sum := call("sum", tb.col("v"))
		n.Calls = append(n.Calls, &expr.AnalyticCall{Kind: expr.WindowAggregate, Agg: sum, DT: sum.Type(), Frame: f})
	}
	checkAnalytic(t, alloc, r, tb, n, outputRows)
}

// Memory that is refused, at whatever moment, is an error and no leak.
func TestWindowFunctionsGiveMemoryBack(t *testing.T) {
	refused := errors.New("no more memory")
	failed := 0
	for left := range 40 {
		r := rand.New(rand.NewPCG(3, 3))
		alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
		tb := windowTable(r, alloc, 200, 9)
		n := &physical.Analytic{Partition: exprs(tb.col("p")), Order: []expr.SortKey{{Expr: tb.col("a")}}}
		n.Calls = randomCalls(r, tb, n.Order)
		e := newEngine(t, alloc, onePlan(tb, windowPlan(tb, n)), 1)
		e.tasks[1].root.(*watched).op.(*analytic).enough = 10
		e.sources["src"] = tb.cut(r, 0, 200, 1)
		if _, err := e.runTask(e.plan.Stages[0], 0, 0, batch.NoTime, batch.NoTime); err != nil {
			t.Fatal(err)
		}
		held := int64(0)
		e.env = func(env *Env) {
			env.Charge = func(n int64) error {
				if n > 0 && left == 0 {
					return refused
				}
				if n > 0 {
					left--
				}
				held += n
				return nil
			}
		}
		_, err := e.runTask(e.plan.Stages[1], 0, 0, batch.NoTime, batch.NoTime)
		if err != nil && !errors.Is(err, refused) {
			t.Fatal(err)
		}
		if err != nil {
			failed++
		}
		e.outputs.Prune("test", 0)
		e.sources["src"].release()
		e.close()
		tb.rec.Release()
		alloc.AssertSize(t, 0)
		if held != 0 {
			t.Errorf("%d bytes are still charged", held)
		}
	}
	if failed < 10 {
		t.Errorf("only %d of 40 runs were refused memory", failed)
	}
}
