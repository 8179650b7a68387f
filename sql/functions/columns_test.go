package functions_test

import (
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

// literals counts the constants of an expression that have a value.
func literals(e expr.Expr) int {
	n := 0
	expr.Walk(e, func(x expr.Expr) bool {
		if l, ok := x.(*expr.Literal); ok && l.Value != nil {
			n++
		}
		return true
	})
	return n
}

// columnize replaces the constants that take says by columns of the same value.
func columnize(e expr.Expr, take func(i int) bool) (expr.Expr, []*expr.Literal) {
	var lits []*expr.Literal
	i := -1
	out := expr.Transform(e, func(x expr.Expr) expr.Expr {
		l, ok := x.(*expr.Literal)
		if !ok || l.Value == nil {
			return x
		}
		i++
		if !take(i) {
			return x
		}
		lits = append(lits, l)
		return &expr.Column{Index: len(lits) - 1, Name: "c", DT: l.DT, Null: true}
	})
	return out, lits
}

const columnRows = 70

// batchOf repeats constants as columns, NULL in every fifth row, at an odd offset.
func batchOf(t *testing.T, alloc memory.Allocator, lits []*expr.Literal) arrow.RecordBatch {
	t.Helper()
	fields := make([]arrow.Field, len(lits))
	cols := make([]arrow.Array, len(lits))
	for c, l := range lits {
		b := array.NewBuilder(alloc, l.DT)
		for i := range columnRows + 3 {
			if i >= 3 && (i-3)%5 == 0 {
				b.AppendNull()
			} else if err := l.AppendTo(b); err != nil {
				t.Fatal(err)
			}
		}
		whole := b.NewArray()
		b.Release()
		cols[c] = array.NewSlice(whole, 3, columnRows+3)
		whole.Release()
		fields[c] = arrow.Field{Name: "c", Type: l.DT, Nullable: true}
	}
	defer vec.ReleaseAll(cols)
	return array.NewRecordBatch(arrow.NewSchema(fields, nil), cols, columnRows)
}

// TestExamplesOverColumns runs each example again with its constants as columns
// with NULLs in some rows, all at once and one by one: kernels must not depend
// on constness, offsets or neighbours.
func TestExamplesOverColumns(t *testing.T) {
	for _, e := range functions.Entries() {
		if e.Agg || e.Window || e.Result == "" {
			continue
		}
		ex, err := parseExpr(e.Example, nil)
		if err != nil {
			t.Fatalf("%s: %v", e.Name(), err)
		}
		s, err := functions.NewCast(ex, expr.TypeString, false)
		if err != nil {
			t.Fatal(err)
		}
		overColumns(t, e, s, func(int) bool { return true })
		for k := range literals(s) {
			overColumns(t, e, s, func(i int) bool { return i == k })
		}
	}
}

func overColumns(t *testing.T, e *functions.Entry, ex expr.Expr, take func(int) bool) {
	t.Helper()
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	cols, lits := columnize(ex, take)
	if len(lits) == 0 {
		return
	}
	rec := batchOf(t, alloc, lits)
	defer rec.Release()
	ev, err := eval.New([]expr.Expr{cols}, rec.Schema())
	if err != nil {
		t.Fatalf("%s: %v", e.Name(), err)
	}
	out, err := ev.Run(context(alloc), rec)
	if err != nil {
		// A NULL condition or key is an error to some functions.
		if !strings.Contains(err.Error(), "NULL_MAP_KEY") && e.Name() != "raise_error" && e.Name() != "assert_true" {
			t.Errorf("%s over columns: %v", e.Example, err)
		}
		return
	}
	defer vec.ReleaseAll(out)
	for i := range columnRows {
		if got := show(out[0], i); i%5 != 0 && got != e.Result {
			t.Errorf("%s over columns: row %d is %s, not %s", e.Example, i, got, e.Result)
			return
		}
	}
}
