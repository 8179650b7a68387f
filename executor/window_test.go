package executor

import (
	"fmt"
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

// windowsOf finds a row's windows by trying every start near it.
func windowsOf(n *physical.Window, t int64) (out [][2]int64) {
	slide := n.Slide
	if n.Kind != logical.Hop {
		slide = n.Size
	}
	for start := n.Offset - 100*slide; start < n.Offset+100*slide; start += slide {
		if n.Kind != logical.Cumulate {
			if start <= t && t < start+n.Size {
				out = append(out, [2]int64{start, start + n.Size})
			}
			continue
		}
		for end := start + n.Slide; end <= start+n.Size; end += n.Slide {
			if start <= t && t < end {
				out = append(out, [2]int64{start, end})
			}
		}
	}
	return out
}

func TestWindowsOfRows(t *testing.T) {
	for _, n := range []*physical.Window{
		{Kind: logical.Tumble, Size: 10}, {Kind: logical.Tumble, Size: 7, Offset: 3}, {Kind: logical.Tumble, Size: 10, Offset: -4},
		{Kind: logical.Hop, Size: 10, Slide: 5}, {Kind: logical.Hop, Size: 10, Slide: 3}, {Kind: logical.Hop, Size: 4, Slide: 9},
		{Kind: logical.Hop, Size: 9, Slide: 9, Offset: 2}, {Kind: logical.Cumulate, Size: 12, Slide: 4}, {Kind: logical.Cumulate, Size: 10, Slide: 10, Offset: 1},
	} {
		for _, nulls := range []bool{false, true} {
			checkWindow(t, n, nulls)
		}
	}
}

func checkWindow(t *testing.T, n *physical.Window, nulls bool) {
	t.Helper()
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(4, 4))
	ts, v := array.NewTimestampBuilder(alloc, tTime), array.NewInt64Builder(alloc)
	defer ts.Release()
	defer v.Release()
	var want []string
	text := func(us int64) string {
		return arrow.Timestamp(us).ToTime(arrow.Microsecond).Format("2006-01-02T15:04:05.999999")
	}
	for i := range 120 {
		at := int64(i) - 60
		v.Append(int64(i))
		if nulls && i%5 == 0 {
			ts.AppendNull()
			continue
		}
		ts.Append(arrow.Timestamp(at))
		for _, w := range windowsOf(n, at) {
			want = append(want, fmt.Sprintf("%q|\"%d\"|%q|%q|%q|", text(at), i, text(w[0]), text(w[1]), text(w[1]-1)))
		}
	}
	fields := []arrow.Field{{Name: "ts", Type: tTime, Nullable: true}, {Name: "v", Type: tInt}}
	tb := newTable(arrow.NewSchema(fields, nil), []arrow.Array{ts.NewArray(), v.NewArray()})
	defer tb.rec.Release()
	w := *n
	w.Input, w.Time = &physical.Scan{Source: "src", Out: tb.schema}, tb.col("ts")
	for _, name := range []string{"window_start", "window_end", "window_time"} {
		fields = append(fields, arrow.Field{Name: name, Type: tTime})
	}
	w.Out = arrow.NewSchema(fields, nil)
	e := newEngine(t, alloc, &physical.Plan{Stages: []*physical.Stage{
		{ID: 0, Root: &w, Kind: physical.Splits, Output: physical.ToClient{}, Sources: []string{"src"}}}}, 1)
	defer e.close()
	e.sources["src"] = tb.cut(r, 0, 120, 1)
	defer e.sources["src"].release()
	sameRows(t, w.String(), e.run(0, batch.NoTime, batch.NoTime), want)
}

func TestValuesUnionFilterAndProject(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	out := arrow.NewSchema([]arrow.Field{{Name: "a", Type: tInt, Nullable: true}, {Name: "b", Type: tString, Nullable: true}}, nil)
	rows := [][]expr.Expr{{expr.Int64(1), expr.Text("x")}, {expr.NullOf(tInt), expr.Text("y")}, {expr.Int64(5), expr.NullOf(tString)}}
	a := column(out, 0)
	cond := &expr.Call{Func: less, Args: []expr.Expr{a, expr.Int64(4)}, DT: tBool, Null: true}
	union := &physical.Union{In: []physical.Node{&physical.Values{Rows: rows, Out: out}, &physical.Filter{Input: &physical.Values{Rows: rows, Out: out}, Cond: cond}}, Out: out}
	swapped := arrow.NewSchema([]arrow.Field{{Name: "b", Type: tString}, {Name: "a", Type: tInt}}, nil)
	root := &physical.Project{Input: union, Exprs: []expr.Expr{column(out, 1), a}, Out: swapped}
	e := newEngine(t, alloc, &physical.Plan{Stages: []*physical.Stage{{ID: 0, Root: root, Kind: physical.Single, Output: physical.ToClient{}}}}, 1)
	defer e.close()
	for id := range 2 {
		got := fmt.Sprint(e.run(batch.ID(id), batch.NoTime, batch.NoTime))
		if want := `["x"|"1"| "y"|"(null)"| "(null)"|"5"| "x"|"1"|]`; got != want {
			t.Errorf("batch %d: %s, want %s", id, got, want)
		}
	}
}
