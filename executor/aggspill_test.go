package executor

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	limits "github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// spilledAggregate runs an aggregation with a budget, which charges are refused
// beyond if strict, and returns its rows in order and the bytes that it spilled.
func spilledAggregate(t *testing.T, seed uint64, n, domain int, budget int64, strict bool) (rows []string, spilled int64, err error) {
	t.Helper()
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(seed, 1))
	tb := randomTable(r, alloc, n, domain, arrow.Field{Name: "k", Type: tInt}, arrow.Field{Name: "s", Type: tString}, arrow.Field{Name: "v", Type: tInt},
		arrow.Field{Name: "f", Type: tBool})
	defer tb.rec.Release()
	keys := [][]expr.Expr{exprs(tb.col("k"), tb.col("s")), exprs(tb.col("s")), exprs(tb.col("k"))}[seed%3]
	aggs := []*expr.AggCall{call("count"), call("sum", tb.col("v")), call("list", tb.col("v"))}
	if seed >= 6 { // calls that keep rows
		for range 3 {
			aggs = append(aggs, call("list", tb.col("v")))
		}
		aggs[3].Distinct, aggs[4].Distinct = true, true
		aggs[4].OrderBy = []expr.SortKey{{Expr: tb.col("v"), Desc: true}}
		aggs[5].OrderBy = []expr.SortKey{{Expr: tb.col("s")}, {Expr: tb.col("k"), NullsFirst: true}}
		aggs[5].Filter = tb.col("f")
	}
	var plan *physical.Plan
	if seed < 3 {
		plan = partialFinal(tb, keys, aggs)
	} else { // in one step
		plan = onePlan(tb, func(in physical.Node) physical.Node {
			return &physical.CompleteAggregate{Input: in, Keys: keys, Aggs: aggs, Out: aggSchema(tb.schema, keys, resultTypes(aggs), false)}
		})
	}
	e := newEngine(t, alloc, plan, 2)
	defer e.close()
	e.spill = filepath.Join(t.TempDir(), "task")
	held := int64(0)
	e.env = func(env *Env) {
		env.Budget = budget
		env.Charge = func(n int64) error {
			if strict && held+n > budget {
				return &limits.LimitError{Asked: n, InUse: held, Limit: budget}
			}
			held += n
			return nil
		}
	}
	e.sources["src"] = tb.cut(r, 0, n, 4)
	defer e.sources["src"].release()
	for _, s := range e.plan.Stages {
		e.tasks[s.ID].Measure(true)
	}
	defer func() {
		if _, statErr := os.Stat(e.spill); !os.IsNotExist(statErr) {
			t.Errorf("the spill folder is left: %v", statErr)
		}
	}()
	for id := range 2 {
		if rows, err = e.tryRun(batch.ID(id), batch.NoTime, batch.NoTime); err != nil {
			return nil, 0, err
		}
		for _, s := range e.tasks[len(e.tasks)-1].Stats() {
			spilled += s.Spilled
		}
	}
	return rows, spilled, nil
}

func TestASpilledAggregateEqualsOneInMemory(t *testing.T) {
	seeds := uint64(9)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		for _, domain := range []int{4, 300, 20_000} {
			rows := 900
			want, none, err := spilledAggregate(t, seed, rows, domain, 0, false)
			if err != nil || none != 0 {
				t.Fatalf("without a budget: %v, %d bytes spilled", err, none)
			}
			slices.Sort(want)
			for _, budget := range []int64{160_000, 800_000} {
				got, spilled, err := spilledAggregate(t, seed, rows, domain, budget, false)
				if err != nil {
					t.Fatal(err)
				}
				if slices.Sort(got); !slices.Equal(got, want) {
					t.Fatalf("seed %d, domain %d, budget %d: %d groups, want %d", seed, domain, budget, len(got), len(want))
				}
				if domain > 300 && budget == 160_000 && spilled == 0 {
					t.Errorf("seed %d, domain %d: nothing was spilled", seed, domain)
				}
			}
		}
	}
}

// A budget that refuses is answered by spilling, unless a single group does not fit.
func TestOnlyASingleGroupIsRefused(t *testing.T) {
	want, _, err := spilledAggregate(t, 1, 4000, 20_000, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	got, spilled, err := spilledAggregate(t, 1, 4000, 20_000, 700_000, true)
	if err != nil || spilled == 0 {
		t.Fatalf("%v, %d bytes spilled", err, spilled)
	}
	slices.Sort(want)
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Error("other rows than without a budget")
	}
	var limit *limits.LimitError
	if _, _, err := spilledAggregate(t, 2, 4000, 1, 3000, true); !errors.As(err, &limit) {
		t.Errorf("a group larger than the budget: %v", err)
	}
}
