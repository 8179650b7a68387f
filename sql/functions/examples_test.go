package functions_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/executor/eval"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
	"github.com/sluice-stream/sluice/sql/functions"
)

const testNow = 1_700_000_000_000_000 // 2023-11-14 22:13:20 UTC

func context(alloc memory.Allocator) *expr.KernelContext {
	return &expr.KernelContext{Alloc: alloc, Now: testNow, Watermark: testNow - 60_000_000, Zone: "UTC", Seed: 7}
}

// text evaluates an expression without columns and returns it as a string.
func text(t *testing.T, e expr.Expr) (string, error) {
	t.Helper()
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	s, err := functions.NewCast(e, expr.TypeString, false)
	if err != nil {
		return "", err
	}
	arr, err := eval.Constant(context(alloc), s)
	if err != nil {
		return "", err
	}
	defer arr.Release()
	return show(arr, 0), nil
}

func show(arr arrow.Array, i int) string {
	if arr.IsNull(i) {
		return "NULL"
	}
	return arr.(*array.String).Value(i)
}

// run evaluates SQL to text, an error as "error: ..".
func run(t *testing.T, sql string) string {
	t.Helper()
	e, err := parseExpr(sql, nil)
	if err == nil {
		var s string
		if s, err = text(t, e); err == nil {
			return s
		}
	}
	return "error: " + err.Error()
}

// TestExamples runs the example of every scalar function (invariant F3).
func TestExamples(t *testing.T) {
	for _, e := range functions.Entries() {
		if e.Agg || e.Window {
			continue
		}
		t.Run(e.Name(), func(t *testing.T) {
			if e.Example == "" {
				t.Fatal("no example")
			}
			got := run(t, e.Example)
			if e.Result != "" && got != e.Result {
				t.Errorf("%s\n got %s\nwant %s", e.Example, got, e.Result)
			}
			if e.Result == "" && strings.HasPrefix(got, "error") {
				t.Errorf("%s: %s", e.Example, got)
			}
		})
	}
}

// rows builds a batch of the VALUES of an aggregate's example.
func rows(t *testing.T, alloc memory.Allocator, values string) arrow.RecordBatch {
	t.Helper()
	e, err := parseExpr("array("+strings.ReplaceAll(", "+values, ", (", ", struct(")[2:]+")", nil)
	if err != nil {
		t.Fatal(err)
	}
	arr, err := eval.Constant(context(alloc), e)
	if err != nil {
		t.Fatal(err)
	}
	defer arr.Release()
	st := arr.(*array.List).ListValues().(*array.Struct)
	fields := make([]arrow.Field, st.NumField())
	cols := make([]arrow.Array, st.NumField())
	for i := range fields {
		fields[i] = arrow.Field{Name: fmt.Sprintf("col%d", i+1), Type: st.Field(i).DataType(), Nullable: true}
		cols[i] = st.Field(i)
	}
	return array.NewRecordBatch(arrow.NewSchema(fields, nil), cols, int64(st.Len()))
}

// TestAggregateExamples runs each aggregate's example in one go, and again in
// two halves that are merged through State.
func TestAggregateExamples(t *testing.T) {
	for _, e := range functions.Entries() {
		if !e.Agg {
			continue
		}
		t.Run(e.Name(), func(t *testing.T) {
			alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
			defer alloc.AssertSize(t, 0)
			call, values, ok := strings.Cut(e.Example, " FROM VALUES ")
			if !ok {
				t.Fatalf("example %q has no FROM VALUES", e.Example)
			}
			rec := rows(t, alloc, strings.ReplaceAll(values, "(NULL)", "(NULL)"))
			defer rec.Release()
			agg := bindAgg(t, call, rec.Schema())
			for _, cut := range []int64{0, rec.NumRows(), rec.NumRows() / 2} {
				if got := aggregate(t, alloc, agg, rec, cut); got != e.Result {
					t.Errorf("%s (cut at %d)\n got %s\nwant %s", e.Example, cut, got, e.Result)
				}
			}
		})
	}
}

func bindAgg(t *testing.T, call string, schema *arrow.Schema) *expr.AggCall {
	t.Helper()
	name, rest, _ := strings.Cut(call, "(")
	rest = strings.TrimSuffix(rest, ")")
	cols := map[string]expr.Expr{}
	for i, f := range schema.Fields() {
		cols[f.Name] = &expr.Column{Index: i, Name: f.Name, DT: f.Type, Null: true}
	}
	p := &parser{toks: lex(rest), cols: cols}
	var args []expr.Expr
	if rest != "*" {
		for p.pos < len(p.toks) {
			if len(args) > 0 {
				p.want(",")
			}
			args = append(args, p.expr(0))
		}
	}
	agg, err := functions.Aggregate(name, args, false)
	if err != nil {
		t.Fatal(err)
	}
	return agg
}

// update evaluates an aggregate's arguments over rows and adds them to group 0.
func update(t *testing.T, alloc memory.Allocator, agg *expr.AggCall, acc expr.Accumulator, rec arrow.RecordBatch) {
	t.Helper()
	ev, err := eval.New(agg.Args, rec.Schema())
	if err != nil {
		t.Fatal(err)
	}
	cols, err := ev.Run(context(alloc), rec)
	if err != nil {
		t.Fatal(err)
	}
	defer vec.ReleaseAll(cols)
	args := make([]expr.Vec, len(cols))
	for i := range cols {
		args[i] = expr.Vec{Arr: cols[i]}
	}
	if err := acc.Update(nil, args, nil, int(rec.NumRows())); err != nil {
		t.Fatal(err)
	}
}

// aggregate adds the rows before cut to one accumulator and the others to a
// second, merges the second's state into the first and prints the result.
func aggregate(t *testing.T, alloc memory.Allocator, agg *expr.AggCall, rec arrow.RecordBatch, cut int64) string {
	t.Helper()
	a, b := agg.Func.New(alloc), agg.Func.New(alloc)
	defer a.Release()
	defer b.Release()
	a.Resize(1)
	b.Resize(1)
	first, second := rec.NewSlice(0, cut), rec.NewSlice(cut, rec.NumRows())
	defer first.Release()
	defer second.Release()
	update(t, alloc, agg, a, first)
	update(t, alloc, agg, b, second)
	state, err := b.State(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer vec.ReleaseAll(state)
	for i, s := range state {
		if !arrow.TypeEqual(s.DataType(), agg.Func.State[i]) {
			t.Fatalf("state %d is %s, not %s", i, s.DataType(), agg.Func.State[i])
		}
	}
	if err := a.Merge(nil, state); err != nil {
		t.Fatal(err)
	}
	out, err := a.Final(0, 1)
	if err != nil {
		return "error: " + err.Error()
	}
	defer out.Release()
	if !arrow.TypeEqual(out.DataType(), agg.Func.Result) {
		t.Fatalf("result is %s, not %s", out.DataType(), agg.Func.Result)
	}
	return asText(t, alloc, out)
}

func asText(t *testing.T, alloc memory.Allocator, arr arrow.Array) string {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "x", Type: arr.DataType(), Nullable: true}}, nil)
	rec := array.NewRecordBatch(schema, []arrow.Array{arr}, int64(arr.Len()))
	defer rec.Release()
	e, err := functions.NewCast(&expr.Column{Name: "x", DT: arr.DataType(), Null: true}, expr.TypeString, false)
	if err != nil {
		t.Fatal(err)
	}
	ev, err := eval.New([]expr.Expr{e}, schema)
	if err != nil {
		t.Fatal(err)
	}
	out, err := ev.Run(context(alloc), rec)
	if err != nil {
		t.Fatal(err)
	}
	defer vec.ReleaseAll(out)
	return show(out[0], 0)
}
