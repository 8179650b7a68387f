package functions

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
)

// A column of text, cut anywhere and with NULLs, compares with a constant on either
// side as each of its rows does.
func TestTextsCompareWithAConstant(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer alloc.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(9, 2))
	texts := []string{"", "a", "b", "aa", "ab", "é", "apple", "Apple", "\x00", "zebra"}
	for _, op := range []string{"=", "<>", "<", "<=", ">", ">="} {
		for range 60 {
			b, one := array.NewStringBuilder(alloc), array.NewStringBuilder(alloc)
			rows := make([]string, 1+r.IntN(200))
			null := make([]bool, len(rows))
			for i := range rows {
				rows[i], null[i] = texts[r.IntN(len(texts))], r.IntN(9) == 0
				if null[i] {
					b.AppendNull()
				} else {
					b.Append(rows[i])
				}
			}
			c := texts[r.IntN(len(texts))]
			one.Append(c)
			arr, constant := b.NewArray(), one.NewArray()
			from := r.IntN(len(rows))
			to := from + 1 + r.IntN(len(rows)-from)
			cut := array.NewSlice(arr, int64(from), int64(to))
			for _, args := range [][]expr.Vec{{{Arr: cut}, {Arr: constant, Const: true}}, {{Arr: constant, Const: true}, {Arr: cut}}} {
				got, err := stringKernel(op)(&expr.KernelContext{Alloc: alloc, Result: arrow.FixedWidthTypes.Boolean}, args, cut.Len())
				if err != nil {
					t.Fatal(err)
				}
				for i := range cut.Len() {
					order := strings.Compare(rows[from+i], c)
					if args[0].Const {
						order = -order
					}
					if got.IsNull(i) != null[from+i] || !null[from+i] && got.(*array.Boolean).Value(i) != expr.Outcome(op)(order) {
						t.Fatalf("%q %s %q, constant first %t: %s", rows[from+i], op, c, args[0].Const, got.ValueStr(i))
					}
				}
				got.Release()
			}
			for _, a := range []interface{ Release() }{cut, arr, constant, b, one} {
				a.Release()
			}
		}
	}
}
