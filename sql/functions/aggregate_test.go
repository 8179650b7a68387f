package functions_test

import (
	"fmt"
	"math"
	"math/rand"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
	"github.com/sluice-stream/sluice/sql/functions"
)

func bound(t testing.TB, name string, args ...expr.Expr) *expr.Aggregate {
	t.Helper()
	a, err := functions.Aggregate(name, args, false)
	if err != nil {
		t.Fatal(err)
	}
	return a.Func
}

func intColumn(alloc memory.Allocator, vals []int64, null func(i int) bool) arrow.Array {
	b := array.NewInt64Builder(alloc)
	defer b.Release()
	for i, v := range vals {
		if null(i) {
			b.AppendNull()
		} else {
			b.Append(v)
		}
	}
	return b.NewArray()
}

// TestAggregatesByGroup compares grouped aggregates, updated with and without
// selections, merged, taken back and reset, with a map of slices.
func TestAggregatesByGroup(t *testing.T) {
	col := &expr.Column{Name: "x", DT: expr.TypeInt64, Null: true}
	oracles := map[string]func(v []int64) any{
		"count": func(v []int64) any { return int64(len(v)) },
		"sum": func(v []int64) any {
			if len(v) == 0 {
				return nil
			}
			s := int64(0)
			for _, x := range v {
				s += x
			}
			return s
		},
		"max": func(v []int64) any { return extremeOf(v, 1) },
		"min": func(v []int64) any { return extremeOf(v, -1) },
		"avg": func(v []int64) any {
			if len(v) == 0 {
				return nil
			}
			s := 0.0
			for _, x := range v {
				s += float64(x)
			}
			return s / float64(len(v))
		},
	}
	for name, oracle := range oracles {
		for seed := range int64(30) {
			checkGroups(t, bound(t, name, col), seed, name, oracle)
		}
	}
}

func extremeOf(v []int64, want int64) any {
	if len(v) == 0 {
		return nil
	}
	best := v[0]
	for _, x := range v {
		if (x-best)*want > 0 {
			best = x
		}
	}
	return best
}

func checkGroups(t *testing.T, agg *expr.Aggregate, seed int64, name string, oracle func([]int64) any) {
	t.Helper()
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	rng := rand.New(rand.NewSource(seed))
	const groups = 7
	accs := []expr.Accumulator{agg.New(alloc), agg.New(alloc)}
	model := make([][]int64, groups)
	for round := range 6 {
		n := 1 + rng.Intn(40)
		vals, gs := make([]int64, n), make([]uint32, n)
		for i := range vals {
			vals[i], gs[i] = int64(rng.Intn(100)-50), uint32(rng.Intn(groups-1))
		}
		nulls := round%2 == 1
		isNull := func(i int) bool { return nulls && i%3 == 0 }
		arr := intColumn(alloc, vals, isNull)
		var sel []int32
		taken := gs
		if round%3 == 2 {
			sel, taken = []int32{}, nil
			for i := range vals {
				if rng.Intn(2) == 0 {
					sel, taken = append(sel, int32(i)), append(taken, gs[i])
				}
			}
		}
		a := accs[round%2]
		a.Resize(groups)
		if err := a.Update(taken, []expr.Vec{{Arr: arr}}, sel, n); err != nil {
			t.Fatal(err)
		}
		if agg.Invertible && round == 4 { // and take it back, then add it again
			if err := a.Retract(taken, []expr.Vec{{Arr: arr}}, sel, n); err != nil {
				t.Fatal(err)
			}
			if err := a.Update(taken, []expr.Vec{{Arr: arr}}, sel, n); err != nil {
				t.Fatal(err)
			}
		}
		for k, g := range taken {
			i := k
			if sel != nil {
				i = int(sel[k])
			}
			if !isNull(i) {
				model[g] = append(model[g], vals[i])
			}
		}
		arr.Release()
	}
	checkMerged(t, accs, model, fmt.Sprintf("%s seed %d", name, seed), oracle)
	for _, a := range accs {
		a.Reset()
		a.Resize(1)
		a.Release()
	}
}

// checkMerged merges the second accumulator into the first and compares every group.
func checkMerged(t *testing.T, accs []expr.Accumulator, model [][]int64, what string, oracle func([]int64) any) {
	t.Helper()
	groups := len(model)
	state, err := accs[1].State(0, groups)
	if err != nil {
		t.Fatal(err)
	}
	order := make([]uint32, groups)
	for g := range order {
		order[g] = uint32(g)
	}
	if err := accs[0].Merge(order, state); err != nil {
		t.Fatal(err)
	}
	vec.ReleaseAll(state)
	out, err := accs[0].Final(0, groups)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Release()
	for g := range groups {
		got := "nil"
		if out.IsValid(g) {
			got = out.ValueStr(g)
		}
		want := fmt.Sprint(oracle(model[g]))
		if (want == "<nil>") != out.IsNull(g) || want != "<nil>" && got != want && !closeTo(got, want) {
			t.Fatalf("%s group %d: %s, want %s", what, g, got, want)
		}
	}
}

func closeTo(a, b string) bool {
	var x, y float64
	if _, err := fmt.Sscan(a, &x); err != nil {
		return false
	}
	if _, err := fmt.Sscan(b, &y); err != nil {
		return false
	}
	return math.Abs(x-y) <= 1e-12*math.Abs(y)
}

// TestSumBeyondBigint pins that a sum may leave BIGINT and come back, and that
// one which does not is an error.
func TestSumBeyondBigint(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	agg := bound(t, "sum", &expr.Column{Name: "x", DT: expr.TypeInt64, Null: true})
	never := func(int) bool { return false }
	for _, groups := range [][]uint32{nil, {0, 0, 0, 0}} {
		for _, c := range []struct {
			vals []int64
			want any
		}{
			{[]int64{math.MaxInt64, math.MaxInt64, math.MinInt64, math.MinInt64}, int64(-2)},
			{[]int64{math.MinInt64, math.MinInt64, math.MaxInt64, math.MaxInt64}, int64(-2)},
			{[]int64{math.MaxInt64, 1, 0, 0}, nil},
			{[]int64{math.MinInt64, -1, 0, 0}, nil},
			{[]int64{math.MinInt64, 0, 0, 0}, int64(math.MinInt64)},
		} {
			a := agg.New(alloc)
			a.Resize(1)
			arr := intColumn(alloc, c.vals, never)
			if err := a.Update(groups, []expr.Vec{{Arr: arr}}, nil, 4); err != nil {
				t.Fatal(err)
			}
			arr.Release()
			out, err := a.Final(0, 1)
			if (err != nil) != (c.want == nil) {
				t.Errorf("sum of %v: error %v", c.vals, err)
			}
			if err == nil {
				if got := vec.Values[int64](out)[0]; got != c.want {
					t.Errorf("sum of %v is %d", c.vals, got)
				}
				out.Release()
			}
			a.Release()
		}
	}
}

// TestSketches pins the errors of the approximate aggregates over a million rows.
func TestSketches(t *testing.T) {
	const n = 1_000_000
	vals := make([]int64, n)
	rng := rand.New(rand.NewSource(3))
	for i := range vals {
		vals[i] = int64(i)
	}
	rng.Shuffle(n, func(i, j int) { vals[i], vals[j] = vals[j], vals[i] })
	arr := intColumn(memory.DefaultAllocator, vals, func(int) bool { return false })
	col := &expr.Column{Name: "x", DT: expr.TypeInt64}
	p, err := functions.Scalar("array", []expr.Expr{double(0.01), double(0.5), double(0.95)})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		agg  *expr.Aggregate
		want []float64
		eps  float64
	}{
		{bound(t, "approx_percentile", col, p), []float64{0.01 * n, 0.5 * n, 0.95 * n}, 0.0005 * n},
		{bound(t, "approx_count_distinct", col), []float64{n}, 0.04 * n},
	} {
		a, b := c.agg.New(memory.DefaultAllocator), c.agg.New(memory.DefaultAllocator)
		a.Resize(1)
		b.Resize(1)
		for k, acc := range []expr.Accumulator{a, b} {
			half := array.NewSlice(arr, int64(k)*n/2, int64(k+1)*n/2)
			if err := acc.Update(nil, []expr.Vec{{Arr: half}}, nil, n/2); err != nil {
				t.Fatal(err)
			}
		}
		state, err := b.State(0, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Merge([]uint32{0}, state); err != nil {
			t.Fatal(err)
		}
		out, err := a.Final(0, 1)
		if err != nil {
			t.Fatal(err)
		}
		got := vec.Values[int64](out)
		if l, ok := out.(*array.List); ok {
			got = vec.Values[int64](l.ListValues())
		}
		for i, w := range c.want {
			if math.Abs(float64(got[i])-w) > c.eps {
				t.Errorf("%s: %d, want %v within %v", c.agg.Name, got[i], w, c.eps)
			}
		}
	}
}

func double(f float64) expr.Expr { return &expr.Literal{Value: f, DT: expr.TypeDouble} }
