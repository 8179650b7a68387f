package eval

import (
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// The tests' functions are made here: the registry belongs to sql, which executor does not import.

func fn2(name, infix string, dt arrow.DataType, total bool, k expr.Kernel) func(a, b expr.Expr) expr.Expr {
	f := &expr.Function{Name: name, Infix: infix, Strict: true, Total: total, Kernel: k}
	return func(a, b expr.Expr) expr.Expr {
		return &expr.Call{Func: f, Args: []expr.Expr{a, b}, DT: dt, Null: true}
	}
}

func map2[R vec.Value](f vec.F2[int64, int64, R]) expr.Kernel {
	return vec.Map2(func(*expr.KernelContext) (vec.F2[int64, int64, R], error) { return f, nil })
}

var errZero = errors.New("division by zero")

var (
	lt  = fn2("<", "<", expr.TypeBool, true, map2(func(a, b int64) (bool, error) { return a < b, nil }))
	ge  = fn2(">=", ">=", expr.TypeBool, true, map2(func(a, b int64) (bool, error) { return a >= b, nil }))
	ne  = fn2("<>", "<>", expr.TypeBool, true, map2(func(a, b int64) (bool, error) { return a != b, nil }))
	add = fn2("+", "+", expr.TypeInt64, true, map2(func(a, b int64) (int64, error) { return a + b, nil }))
	quo = fn2("/", "/", expr.TypeInt64, false, map2(func(a, b int64) (int64, error) {
		if b == 0 {
			return 0, errZero
		}
		return a / b, nil
	}))
)

var (
	colA = &expr.Column{Index: 0, Name: "a", DT: expr.TypeInt64, Null: true}
	colB = &expr.Column{Index: 1, Name: "b", DT: expr.TypeInt64, Null: true}
	colS = &expr.Column{Index: 2, Name: "s", DT: expr.TypeString, Null: true}
	abs  = arrow.NewSchema([]arrow.Field{
		{Name: "a", Type: expr.TypeInt64, Nullable: true}, {Name: "b", Type: expr.TypeInt64, Nullable: true},
		{Name: "s", Type: expr.TypeString, Nullable: true},
	}, nil)
)

func ctx(t *testing.T) *expr.KernelContext {
	t.Helper()
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	t.Cleanup(func() { alloc.AssertSize(t, 0) })
	return &expr.KernelContext{Alloc: alloc}
}

// input makes n random rows with NULLs, starting at an odd offset.
func input(t *testing.T, alloc memory.Allocator, n int, seed int64) arrow.RecordBatch {
	t.Helper()
	rng := rand.New(rand.NewSource(seed))
	b := array.NewRecordBuilder(alloc, abs)
	defer b.Release()
	for range n + 3 {
		for c := range 2 {
			if rng.Intn(7) == 0 {
				b.Field(c).AppendNull()
			} else {
				b.Field(c).(*array.Int64Builder).Append(int64(rng.Intn(10)) - 3)
			}
		}
		if rng.Intn(7) == 0 {
			b.Field(2).AppendNull()
		} else {
			b.Field(2).(*array.StringBuilder).Append(fmt.Sprint("s", rng.Intn(50)))
		}
	}
	rec := b.NewRecordBatch()
	defer rec.Release()
	out := rec.NewSlice(3, int64(n+3))
	t.Cleanup(out.Release)
	return out
}

// cell reads a row as any; nil is NULL.
func cell(arr arrow.Array, i int) any {
	if arr.IsNull(i) {
		return nil
	}
	switch a := arr.(type) {
	case *array.Int64:
		return a.Value(i)
	case *array.Boolean:
		return a.Value(i)
	case *array.String:
		return a.Value(i)
	}
	return arr.ValueStr(i)
}

// oracle computes an expression for one row, the slow and obvious way.
func oracle(e expr.Expr, rec arrow.RecordBatch, i int) (any, error) {
	switch e := e.(type) {
	case *expr.Column:
		return cell(rec.Column(e.Index), i), nil
	case *expr.Literal:
		return e.Value, nil
	case *expr.Case:
		for _, w := range e.Whens {
			c, err := oracle(w.Cond, rec, i)
			if err != nil {
				return nil, err
			}
			if c == true {
				return oracle(w.Then, rec, i)
			}
		}
		return oracle(e.Else, rec, i)
	case *expr.Logical:
		stop := e.Op == expr.Or
		var out any = !stop
		for _, a := range e.Args {
			v, err := oracle(a, rec, i)
			if err != nil || v == stop {
				return v, err
			}
			if v == nil {
				out = nil
			}
		}
		return out, nil
	case *expr.In:
		v, err := oracle(e.Arg, rec, i)
		if err != nil || v == nil {
			return nil, err
		}
		var miss any = e.Negated
		for _, l := range e.List {
			if l.Value == v {
				return !e.Negated, nil
			}
			if l.Value == nil {
				miss = nil
			}
		}
		return miss, nil
	case *expr.Call:
		x, err := oracle(e.Args[0], rec, i)
		if err != nil {
			return nil, err
		}
		y, err := oracle(e.Args[1], rec, i)
		if err != nil || x == nil || y == nil {
			return nil, err
		}
		return apply(e.Func.Infix, x.(int64), y.(int64))
	}
	return nil, fmt.Errorf("no oracle for %T", e)
}

func apply(op string, a, b int64) (any, error) {
	switch op {
	case "<":
		return a < b, nil
	case ">=":
		return a >= b, nil
	case "<>":
		return a != b, nil
	case "+":
		return a + b, nil
	}
	if b == 0 {
		return nil, errZero
	}
	return a / b, nil
}

// randExpr makes a random expression of type BIGINT or BOOLEAN.
func randExpr(rng *rand.Rand, depth int, boolean bool) expr.Expr {
	if depth == 0 {
		if boolean {
			return []expr.Expr{expr.Bool(true), expr.Bool(false), expr.NullOf(expr.TypeBool), lt(colA, expr.Int64(2)), ge(colB, colA)}[rng.Intn(5)]
		}
		return []expr.Expr{colA, colB, expr.Int64(int64(rng.Intn(5) - 1)), expr.NullOf(expr.TypeInt64), colA}[rng.Intn(5)]
	}
	sub := func(b bool) expr.Expr { return randExpr(rng, rng.Intn(depth), b) }
	if boolean {
		switch rng.Intn(6) {
		case 0:
			return lt(sub(false), sub(false))
		case 1:
			return ne(sub(false), expr.Int64(0))
		case 2:
			return &expr.In{Arg: sub(false), List: []*expr.Literal{expr.Int64(1), expr.Int64(2), expr.NullOf(expr.TypeInt64)}[:1+rng.Intn(3)], Negated: rng.Intn(2) == 0}
		default:
			l := &expr.Logical{Op: expr.LogicalOp(rng.Intn(2))}
			for range 2 + rng.Intn(2) {
				l.Args = append(l.Args, sub(true))
			}
			return l
		}
	}
	switch rng.Intn(4) {
	case 0:
		return add(sub(false), sub(false))
	case 1:
		return quo(sub(false), sub(false))
	default:
		c := &expr.Case{DT: expr.TypeInt64, Else: sub(false)}
		for range 1 + rng.Intn(3) {
			c.Whens = append(c.Whens, expr.When{Cond: sub(true), Then: sub(false)})
		}
		return c
	}
}

// TestRandom compares Run, and Select for conditions, with the row-wise oracle:
// the same values, and an error exactly where a row that is needed has one.
func TestRandom(t *testing.T) {
	failed, ran := 0, 0
	for seed := range int64(400) {
		rng := rand.New(rand.NewSource(seed))
		kc := ctx(t)
		rec := input(t, kc.Alloc, 1+rng.Intn(150), seed)
		e := randExpr(rng, 1+rng.Intn(4), seed%2 == 0)
		want, wantErr := make([]any, rec.NumRows()), error(nil)
		for i := range want {
			v, err := oracle(e, rec, i)
			want[i] = v
			if err != nil {
				wantErr = err
			}
		}
		ev, err := New([]expr.Expr{e}, abs)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second run reuses frames
			out, err := ev.Run(kc, rec)
			if (err != nil) != (wantErr != nil) {
				t.Fatalf("seed %d: %s: error %v, oracle %v", seed, e, err, wantErr)
			}
			if err != nil {
				failed++
				continue
			}
			ran++
			for i := range want {
				if got := cell(out[0], i); got != want[i] {
					t.Fatalf("seed %d: %s: row %d is %v, oracle %v", seed, e, i, got, want[i])
				}
			}
			vec.ReleaseAll(out)
		}
		if seed%2 == 0 && wantErr == nil {
			checkSelect(t, kc, rec, e, want)
		}
	}
	if failed == 0 || ran == 0 {
		t.Errorf("%d runs failed and %d did not: the expressions do not try both", failed, ran)
	}
}

func checkSelect(t *testing.T, kc *expr.KernelContext, rec arrow.RecordBatch, e expr.Expr, want []any) {
	t.Helper()
	p, err := NewPredicate(e, abs)
	if err != nil {
		t.Fatal(err)
	}
	var rows []int32
	for i, w := range want {
		if w == true {
			rows = append(rows, int32(i))
		}
	}
	sel, err := p.Select(kc, rec, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(sel, rows) {
		t.Fatalf("%s: selected %v, oracle %v", e, sel, rows)
	}
	out, err := Take(kc.Alloc, rec, sel)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Release()
	for c := range int(rec.NumCols()) {
		for i, r := range sel {
			if got, w := cell(out.Column(c), i), cell(rec.Column(c), int(r)); got != w {
				t.Fatalf("take: column %d row %d is %v, want %v", c, i, got, w)
			}
		}
	}
}

// TestLazy pins that a branch not taken has no error, and one taken does.
func TestLazy(t *testing.T) {
	kc := ctx(t)
	rec := input(t, kc.Alloc, 100, 1)
	safe := &expr.Case{DT: expr.TypeInt64, Else: expr.Int64(-1),
		Whens: []expr.When{{Cond: ne(colB, expr.Int64(0)), Then: quo(colA, colB)}}}
	for _, c := range []struct {
		e    expr.Expr
		fail bool
	}{{safe, false}, {quo(colA, colB), true}, {&expr.Logical{Op: expr.And, Args: []expr.Expr{
		ne(colB, expr.Int64(0)), lt(quo(colA, colB), expr.Int64(1))}}, true}} {
		ev, err := New([]expr.Expr{c.e}, abs)
		if err != nil {
			t.Fatal(err)
		}
		out, err := ev.Run(kc, rec)
		vec.ReleaseAll(out)
		// AND: a NULL on the left leaves the row undecided, and its right side is b = NULL, so no error either.
		if want := c.fail && c.e.Type().ID() == arrow.INT64; (err != nil) != want {
			t.Errorf("%s: error %v, wanted one: %v", c.e, err, want)
		}
		if err != nil && !errors.Is(err, errZero) {
			t.Errorf("error %v does not wrap the kernel's", err)
		}
	}
}

// TestCommonSubexpression pins that equal parts are computed once.
func TestCommonSubexpression(t *testing.T) {
	kc := ctx(t)
	rec := input(t, kc.Alloc, 20, 2)
	runs := 0
	counted := fn2("counted", "", expr.TypeInt64, true, func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		runs++
		return map2(func(a, b int64) (int64, error) { return a + b, nil })(kc, args, n)
	})
	c := counted(colA, colB)
	ev, err := New([]expr.Expr{add(c, expr.Int64(1)), add(counted(colA, colB), expr.Int64(2)), c}, abs)
	if err != nil {
		t.Fatal(err)
	}
	out, err := ev.Run(kc, rec)
	if err != nil {
		t.Fatal(err)
	}
	vec.ReleaseAll(out)
	if runs != 1 {
		t.Errorf("computed %d times", runs)
	}
}

// TestDictionary pins that a dictionary-encoded column gives what a plain one does,
// and that a function of it alone sees each entry once.
func TestDictionary(t *testing.T) {
	kc := ctx(t)
	dt := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int16, ValueType: expr.TypeString}
	b := array.NewDictionaryBuilder(kc.Alloc, dt).(*array.BinaryDictionaryBuilder)
	defer b.Release()
	for i := range 40 {
		if i%9 == 0 {
			b.AppendNull()
		} else if err := b.AppendString([]string{"x", "yy", "zzz"}[i%3]); err != nil {
			t.Fatal(err)
		}
	}
	arr := b.NewArray()
	defer arr.Release()
	schema := arrow.NewSchema([]arrow.Field{{Name: "d", Type: dt, Nullable: true}}, nil)
	rec := array.NewRecordBatch(schema, []arrow.Array{arr}, 40)
	defer rec.Release()
	most := 0
	length := &expr.Function{Name: "len", Strict: true, Total: true, Kernel: func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		most = max(most, n)
		return vec.Map1(func(*expr.KernelContext) (vec.F1[string, int64], error) {
			return func(s string) (int64, error) { return int64(len(s)), nil }, nil
		})(kc, args, n)
	}}
	plain := &expr.Cast{Arg: &expr.Column{Name: "d", DT: dt, Null: true}, DT: expr.TypeString}
	ev, err := New([]expr.Expr{&expr.Call{Func: length, Args: []expr.Expr{plain}, DT: expr.TypeInt64, Null: true}, plain}, schema)
	if err != nil {
		t.Fatal(err)
	}
	out, err := ev.Run(kc, rec)
	if err != nil {
		t.Fatal(err)
	}
	defer vec.ReleaseAll(out)
	for i := range 40 {
		var l, s any
		if i%9 != 0 {
			s = []string{"x", "yy", "zzz"}[i%3]
			l = int64(i%3 + 1)
		}
		if cell(out[0], i) != l || cell(out[1], i) != s {
			t.Errorf("row %d: %v %v, want %v %v", i, cell(out[0], i), cell(out[1], i), l, s)
		}
	}
	if most != 3 {
		t.Errorf("the kernel saw %d rows for 3 entries", most)
	}
}

// TestEmpty pins that no rows give no rows, of the right types.
func TestEmpty(t *testing.T) {
	kc := ctx(t)
	rec := input(t, kc.Alloc, 0, 3)
	ev, err := New([]expr.Expr{quo(expr.Int64(1), expr.Int64(0)), colS}, abs)
	if err != nil {
		t.Fatal(err)
	}
	out, err := ev.Run(kc, rec)
	if err != nil {
		t.Fatal(err)
	}
	defer vec.ReleaseAll(out)
	if out[0].Len() != 0 || out[1].DataType().ID() != arrow.STRING {
		t.Errorf("got %v", out)
	}
}
