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
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

func cell(v any) string {
	if v == nil {
		v = "(null)"
	}
	return fmt.Sprintf("%q|", fmt.Sprint(v))
}

// listTable has an id and two arrays of numbers, with NULLs, empty ones and one
// much longer than the others.
func listTable(alloc memory.Allocator, r *rand.Rand, n int) (*table, [][2][]any) {
	list := arrow.ListOf(arrow.PrimitiveTypes.Int64)
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "a", Type: list, Nullable: true}, {Name: "b", Type: list, Nullable: true},
	}, nil)
	b := array.NewRecordBuilder(alloc, schema)
	defer b.Release()
	rows := make([][2][]any, n)
	for i := range n {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		for c := range 2 {
			lb := b.Field(1 + c).(*array.ListBuilder)
			if r.IntN(5) == 0 {
				lb.AppendNull()
				continue
			}
			lb.Append(true)
			size := r.IntN(4)
			if i == n/2 && c == 0 {
				size = 300
			}
			for range size {
				if r.IntN(6) == 0 {
					lb.ValueBuilder().AppendNull()
					rows[i][c] = append(rows[i][c], nil)
					continue
				}
				v := r.Int64N(100)
				lb.ValueBuilder().(*array.Int64Builder).Append(v)
				rows[i][c] = append(rows[i][c], v)
			}
		}
	}
	return &table{schema: schema, rec: b.NewRecordBatch()}, rows
}

func TestGenerateReadsArraysSideBySide(t *testing.T) {
	for _, outer := range []bool{false, true} {
		for _, pos := range []logical.GeneratePos{logical.NoPos, logical.PosFirst, logical.Ordinality} {
			for args := 1; args <= 2; args++ {
				checkGenerate(t, outer, pos, args)
			}
		}
	}
}

func checkGenerate(t *testing.T, outer bool, pos logical.GeneratePos, args int) {
	t.Helper()
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(3, uint64(args)))
	in, rows := listTable(alloc, r, 40)
	defer in.rec.Release()
	fields := slices.Clone(in.schema.Fields())
	number := arrow.Field{Name: "pos", Type: arrow.PrimitiveTypes.Int32, Nullable: true}
	if pos == logical.PosFirst {
		fields = append(fields, number)
	}
	g := &physical.Generate{Input: &physical.Scan{Source: "t", Out: in.schema}, Pos: pos, Outer: outer}
	for i := range args {
		g.Args = append(g.Args, column(in.schema, 1+i))
		fields = append(fields, arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Int64, Nullable: true})
	}
	if pos == logical.Ordinality {
		fields = append(fields, number)
	}
	g.Out = arrow.NewSchema(fields, nil)
	want := generated(in, rows, outer, pos, args)
	got := runRoot(t, alloc, g, in.cut(r, 0, 40, 1))
	sameRows(t, g.String(), got, want)
}

// generated is the naive form.
func generated(in *table, rows [][2][]any, outer bool, pos logical.GeneratePos, args int) (out []string) {
	for i, lists := range rows {
		n := 0
		for _, l := range lists[:args] {
			n = max(n, len(l))
		}
		head := rowText(in.rec.Columns(), i)
		for e := range n {
			row := head
			if pos == logical.PosFirst {
				row += cell(e)
			}
			for _, l := range lists[:args] {
				if e < len(l) {
					row += cell(l[e])
				} else {
					row += cell(nil)
				}
			}
			if pos == logical.Ordinality {
				row += cell(e + 1)
			}
			out = append(out, row)
		}
		if n == 0 && outer {
			cols := args
			if pos != logical.NoPos {
				cols++
			}
			out = append(out, head+strings.Repeat(cell(nil), cols))
		}
	}
	return out
}

// runRoot runs one operator tree over a source "t" as a single task.
func runRoot(t *testing.T, alloc memory.Allocator, root physical.Node, src *memSource) []string {
	t.Helper()
	defer src.release()
	e := newEngine(t, alloc, &physical.Plan{Stages: []*physical.Stage{
		{ID: 0, Root: root, Kind: physical.Splits, Output: physical.ToClient{}, Sources: []string{"t"}},
	}}, 1)
	defer e.close()
	e.sources["t"] = src
	return e.run(0, batch.NoTime, batch.NoTime)
}

func TestGenerateTakesStructsAndMapsApart(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	st := arrow.StructOf(arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, arrow.Field{Name: "y", Type: arrow.BinaryTypes.String, Nullable: true})
	m := arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64)
	schema := arrow.NewSchema([]arrow.Field{{Name: "s", Type: arrow.ListOf(st), Nullable: true}, {Name: "m", Type: m, Nullable: true}}, nil)
	rec, _, err := array.RecordFromJSON(alloc, schema, strings.NewReader(
		`[{"s": [{"x": 1, "y": "a"}, null], "m": [{"key": "k", "value": 5}]}, {"s": null, "m": []}, {"s": [{"x": null, "y": "b"}], "m": null}]`))
	if err != nil {
		t.Fatal(err)
	}
	defer rec.Release()
	src := func() *memSource {
		rec.Retain()
		return &memSource{splits: [][]arrow.RecordBatch{{rec}}}
	}
	last := func(rows []string) (out []string) { // the columns made
		for _, row := range rows {
			parts := strings.SplitAfter(row, "|")
			out = append(out, strings.Join(parts[len(parts)-3:], ""))
		}
		return out
	}
	out := func(more ...arrow.Field) *arrow.Schema { return arrow.NewSchema(append(schema.Fields(), more...), nil) }
	inline := &physical.Generate{Input: &physical.Scan{Source: "t", Out: schema}, Args: exprs(column(schema, 0)), Inline: true, Out: out(st.Fields()...)}
	sameRows(t, "inline", last(runRoot(t, alloc, inline, src())), []string{cell(1) + cell("a"), cell(nil) + cell(nil), cell(nil) + cell("b")})
	pairs := &physical.Generate{Input: &physical.Scan{Source: "t", Out: schema}, Args: exprs(column(schema, 1)), Out: out(
		arrow.Field{Name: "key", Type: arrow.BinaryTypes.String, Nullable: true}, arrow.Field{Name: "value", Type: arrow.PrimitiveTypes.Int64, Nullable: true})}
	sameRows(t, "map", last(runRoot(t, alloc, pairs, src())), []string{cell("k") + cell(5)})
}

func TestLimitByCountsEachKeyByItself(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(5, 5))
	in := randomTable(r, alloc, 500, 6, arrow.Field{Name: "k", Type: arrow.PrimitiveTypes.Int64}, arrow.Field{Name: "v", Type: arrow.BinaryTypes.String})
	defer in.rec.Release()
	for _, c := range [][2]int64{{1, 0}, {3, 2}, {-1, 4}, {0, 0}} {
		n := &physical.LimitBy{Input: &physical.Scan{Source: "t", Out: in.schema}, By: exprs(column(in.schema, 0)), Count: c[0], Offset: c[1]}
		var want []string
		seen := map[string]int64{}
		for i := range 500 {
			k := rowText(in.rec.Columns()[:1], i)
			if at := seen[k]; at >= c[1] && (c[0] < 0 || at < c[1]+c[0]) {
				want = append(want, rowText(in.rec.Columns(), i))
			}
			seen[k]++
		}
		if got := runRoot(t, alloc, n, in.cut(r, 0, 500, 1)); !slices.Equal(got, want) {
			t.Errorf("%s: got %d rows, want %d", n, len(got), len(want))
		}
	}
}

func TestRangeEndsWhereNumbersEnd(t *testing.T) {
	for _, c := range []struct {
		start, end, step int64
		n                int
		last             int64
	}{
		{0, outputRows + 3, 1, outputRows + 3, outputRows + 2}, {10, 0, -3, 4, 1}, {5, 5, 1, 0, 0}, {1, 0, 1, 0, 0},
		{1<<63 - 3, 1<<63 - 1, 5, 1, 1<<63 - 3}, {-1 << 62, 1 << 62, 1 << 61, 4, 1 << 61},
	} {
		alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
		n := &physical.Range{Start: c.start, End: c.end, Step: c.step, Out: arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}}, nil)}
		got := runRoot(t, alloc, n, &memSource{splits: make([][]arrow.RecordBatch, 1)})
		if len(got) != c.n || c.n > 0 && got[c.n-1] != cell(c.last) {
			t.Errorf("%s: %d rows, the last %v", n, len(got), got[max(0, len(got)-1):])
		}
		alloc.AssertSize(t, 0)
	}
}

// reach is a recursive query: what can be reached from node 0 of a graph.
func reach(in *table, all bool, rounds int) physical.Node {
	node := arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil)
	both := arrow.NewSchema(append(slices.Clone(node.Fields()), in.schema.Fields()...), nil)
	join := &physical.HashJoin{
		Left: &physical.WorkTable{ID: 1, Out: node}, Right: &physical.ExchangeRead{Stage: 0, Out: in.schema}, Kind: logical.Inner,
		LeftKeys: exprs(column(node, 0)), RightKeys: exprs(column(in.schema, 0)), Out: both,
	}
	return &physical.Recursive{
		Seed: &physical.Values{Rows: [][]expr.Expr{{expr.Int64(0)}}, Out: node},
		Step: &physical.Project{Input: join, Exprs: exprs(column(both, 2)), Out: node},
		ID:   1, All: all, Max: rounds, Out: node,
	}
}

func reachPlan(in *table, all bool, rounds int) *physical.Plan {
	return &physical.Plan{Stages: []*physical.Stage{
		{ID: 0, Root: &physical.Scan{Source: "t", Out: in.schema}, Kind: physical.Splits, Output: physical.ToOne{}, Sources: []string{"t"}},
		{ID: 1, Root: reach(in, all, rounds), Kind: physical.Single, Output: physical.ToClient{}, Inputs: []int{0}},
	}}
}

func TestRecursiveFollowsAGraphToItsEnd(t *testing.T) {
	for seed := range uint64(20) {
		alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
		r := rand.New(rand.NewPCG(seed, 1))
		in := randomTable(r, alloc, 30, 25, arrow.Field{Name: "a", Type: arrow.PrimitiveTypes.Int64}, arrow.Field{Name: "b", Type: arrow.PrimitiveTypes.Int64})
		e := newEngine(t, alloc, reachPlan(in, false, 100), 1)
		e.sources["t"] = in.cut(r, 0, 30, 3)
		for id := range batch.ID(2) { // the second run starts from nothing again
			sameRows(t, "reachable", e.run(id, batch.NoTime, batch.NoTime), reachable(in))
		}
		e.close()
		e.sources["t"].release()
		in.rec.Release()
		alloc.AssertSize(t, 0)
	}
}

func reachable(in *table) (out []string) {
	seen := map[string]bool{cell(0): true}
	todo := []string{cell(0)}
	for len(todo) > 0 {
		at := todo[0]
		todo = todo[1:]
		out = append(out, at)
		for i := range int(in.rec.NumRows()) {
			to := rowText(in.rec.Columns()[1:], i)
			if rowText(in.rec.Columns()[:1], i) == at && at != cell(nil) && !seen[to] {
				seen[to] = true
				todo = append(todo, to)
			}
		}
	}
	return out
}

func TestRecursiveGivesUpOnACircle(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	schema := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, {Name: "b", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil)
	rec, _, err := array.RecordFromJSON(alloc, schema, strings.NewReader(`[{"a": 0, "b": 0}]`))
	if err != nil {
		t.Fatal(err)
	}
	in := &table{schema: schema, rec: rec}
	defer rec.Release()
	e := newEngine(t, alloc, reachPlan(in, true, 9), 1)
	defer e.close()
	src := in.cut(rand.New(rand.NewPCG(1, 1)), 0, 1, 1)
	defer src.release()
	e.sources["t"] = src
	if _, err := e.runTask(e.plan.Stages[0], 0, 0, batch.NoTime, batch.NoTime); err != nil {
		t.Fatal(err)
	}
	if _, err := e.runTask(e.plan.Stages[1], 0, 0, batch.NoTime, batch.NoTime); err == nil || !strings.Contains(err.Error(), "after 9 rounds") {
		t.Fatalf("got %v", err)
	}
}
