package executor

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

func onePlan(tb *table, wrap func(physical.Node) physical.Node) *physical.Plan {
	return &physical.Plan{Stages: []*physical.Stage{
		{ID: 0, Root: &physical.Scan{Source: "src", Out: tb.schema}, Kind: physical.Splits, Output: physical.ToOne{}, Sources: []string{"src"}},
		{ID: 1, Root: wrap(&physical.ExchangeRead{Out: tb.schema}), Kind: physical.Single, Output: physical.ToClient{}, Inputs: []int{0}},
	}}
}

// lessByKeys is the oracle's order.
func lessByKeys(tb *table, keys []expr.SortKey, a, b int) bool {
	for _, k := range keys {
		col := tb.rec.Column(k.Expr.(*expr.Column).Index)
		if col.IsNull(a) != col.IsNull(b) {
			return col.IsNull(a) == k.NullsFirst
		}
		if col.IsNull(a) {
			continue
		}
		var c int
		switch x := col.(type) {
		case *array.Int64:
			c = int(x.Value(a)) - int(x.Value(b))
		case *array.String:
			c = slices.Compare([]byte(x.Value(a)), []byte(x.Value(b)))
		case *array.Float64:
			c = int(4*x.Value(a)) - int(4*x.Value(b))
		}
		if c != 0 {
			return (c < 0) != k.Desc
		}
	}
	return false
}

func TestSortTopNAndLimitKeepTheOracleOrder(t *testing.T) {
	for seed := range uint64(5) {
		for _, n := range []int{0, 1, 900} {
			r := rand.New(rand.NewPCG(seed, uint64(n)))
			checkSort(t, r, n)
		}
	}
}

func checkSort(t *testing.T, r *rand.Rand, n int) {
	t.Helper()
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	tb := randomTable(r, alloc, n, 9, arrow.Field{Name: "a", Type: tInt}, arrow.Field{Name: "b", Type: tString}, arrow.Field{Name: "c", Type: tFloat})
	defer tb.rec.Release()
	var keys []expr.SortKey
	for i := range 1 + r.IntN(3) {
		keys = append(keys, expr.SortKey{Expr: column(tb.schema, (i+int(r.Int32N(3)))%3), Desc: r.IntN(2) == 0, NullsFirst: r.IntN(2) == 0})
	}
	rows := make([]int, n)
	for i := range rows {
		rows[i] = i
	}
	sort.SliceStable(rows, func(i, j int) bool { return lessByKeys(tb, keys, rows[i], rows[j]) })
	count, offset := int64(r.IntN(40)), int64(r.IntN(20))
	want := make([]string, n)
	for i, row := range rows {
		want[i] = rowText(tb.rec.Columns(), row)
	}
	first := min(int(offset), n)
	best := want[first:min(first+int(count), n)]
	for name, c := range map[string]struct {
		wrap func(physical.Node) physical.Node
		want []string
		max  int64
	}{
		"sort":            {func(in physical.Node) physical.Node { return &physical.Sort{Input: in, Keys: keys} }, want, sortBytesMax},
		"spilled sort":    {func(in physical.Node) physical.Node { return &physical.Sort{Input: in, Keys: keys} }, want, 2000},
		"merged in turns": {func(in physical.Node) physical.Node { return &physical.Sort{Input: in, Keys: keys} }, want, 1},
		"top n": {func(in physical.Node) physical.Node {
			return &physical.TopN{Input: in, Keys: keys, Count: count, Offset: offset}
		}, best, 0},
		"sorted limit": {func(in physical.Node) physical.Node {
			return &physical.Limit{Input: &physical.Sort{Input: in, Keys: keys}, Count: count, Offset: offset}
		}, best, 0},
		"limit -1": {func(in physical.Node) physical.Node {
			return &physical.Limit{Input: &physical.Sort{Input: in, Keys: keys}, Count: -1, Offset: offset}
		}, want[first:], 0},
	} {
		e := newEngine(t, alloc, onePlan(tb, c.wrap), 1)
		e.spill = t.TempDir()
		if s, ok := e.tasks[1].root.(*watched).op.(*sorter); ok {
			if s.max = c.max; c.max == 1 { // each batch is a run
				s.fan = 2
			}
		}
		e.sources["src"] = tb.cut(r, 0, n, 3)
		for id := range 2 { // twice: the operators are reused
			got := e.run(batch.ID(id), batch.NoTime, batch.NoTime)
			if !slices.Equal(got, c.want) {
				t.Fatalf("%s of %d rows by %s, count %d offset %d:\n got %v\nwant %v", name, n, expr.SortKeys(keys), count, offset, got, c.want)
			}
		}
		if _, err := os.Stat(e.spill); !os.IsNotExist(err) {
			t.Errorf("%s left its spill folder behind: %v", name, err)
		}
		e.sources["src"].release()
		e.close()
	}
}

// Many batches make TopN prune and bound what it takes.
func TestTopNOfManyRowsKeepsFew(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	const n = 60_000
	b := array.NewInt64Builder(alloc)
	for i := range n {
		b.Append(int64(i*7919%n) - n/2)
	}
	tb := newTable(arrow.NewSchema([]arrow.Field{{Name: "a", Type: tInt}}, nil), []arrow.Array{b.NewArray()})
	b.Release()
	defer tb.rec.Release()
	var rows []string
	plan := onePlan(tb, func(in physical.Node) physical.Node {
		return &physical.TopN{Input: in, Keys: []expr.SortKey{{Expr: tb.col("a"), Desc: true}}, Count: 3, Offset: 1}
	})
	e := newEngine(t, alloc, plan, 1)
	e.sources["src"] = &memSource{splits: make([][]arrow.RecordBatch, 1)}
	for i := range int64(60) {
		e.sources["src"].splits[0] = append(e.sources["src"].splits[0], tb.rec.NewSlice(i*1000, (i+1)*1000))
	}
	rows = e.run(0, batch.NoTime, batch.NoTime)
	if got := fmt.Sprint(rows); got != fmt.Sprintf(`["%d"| "%d"| "%d"|]`, n/2-2, n/2-3, n/2-4) {
		t.Errorf("top rows %s", got)
	}
	e.sources["src"].release()
	e.close()
}

// What the bound keeps out is what sorting all rows would put behind it, with
// ties in the first keys, NULLs and keys of several types.
func TestTopNEqualsTheHeadOfASort(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(3, 9))
	for round := range 40 {
		tb := randomTable(r, alloc, 4000, []int{2, 40, 4000}[round%3], arrow.Field{Name: "a", Type: tInt}, arrow.Field{Name: "s", Type: tString},
			arrow.Field{Name: "b", Type: tInt32})
		var keys []expr.SortKey
		for _, c := range r.Perm(3)[:1+r.IntN(3)] {
			keys = append(keys, expr.SortKey{Expr: tb.col([]string{"a", "s", "b"}[c]), Desc: r.IntN(2) == 0, NullsFirst: r.IntN(2) == 0})
		}
		head := func(wrap func(in physical.Node) physical.Node) []string {
			e := newEngine(t, alloc, onePlan(tb, wrap), 1)
			defer e.close()
			e.sources["src"] = &memSource{splits: make([][]arrow.RecordBatch, 1)}
			for at := int64(0); at < 4000; at += 250 {
				e.sources["src"].splits[0] = append(e.sources["src"].splits[0], tb.rec.NewSlice(at, at+250))
			}
			defer e.sources["src"].release()
			return e.run(0, batch.NoTime, batch.NoTime)
		}
		want := head(func(in physical.Node) physical.Node { return &physical.Sort{Input: in, Keys: keys} })[:20]
		got := head(func(in physical.Node) physical.Node { return &physical.TopN{Input: in, Keys: keys, Count: 20} })
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("order by %v:\n got %v\nwant %v", keys, got, want)
		}
		tb.rec.Release()
	}
}

func TestLimitStopsReading(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(1, 1))
	tb := randomTable(r, alloc, 100, 5, arrow.Field{Name: "a", Type: tInt})
	defer tb.rec.Release()
	e := newEngine(t, alloc, &physical.Plan{Stages: []*physical.Stage{{ID: 0, Kind: physical.Splits, Output: physical.ToClient{}, Sources: []string{"src"},
		Root: &physical.Limit{Input: &physical.Scan{Source: "src", Out: tb.schema}, Count: 7, Offset: 2}}}}, 1)
	m := &memSource{splits: make([][]arrow.RecordBatch, 1)}
	for i := range int64(10) {
		m.splits[0] = append(m.splits[0], tb.rec.NewSlice(i*10, i*10+10))
	}
	e.sources["src"] = m
	if got := e.run(0, batch.NoTime, batch.NoTime); len(got) != 7 {
		t.Errorf("%d rows", len(got))
	}
	if read := e.results[0].Counters.RowsIn; read != 10 {
		t.Errorf("%d rows were read", read)
	}
	m.release()
	e.close()
}
