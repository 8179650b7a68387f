package executor

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

func TestTrueRows(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer alloc.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(6, 1))
	for range 500 {
		b := array.NewBooleanBuilder(alloc)
		n, nulls := r.IntN(200), r.IntN(2)*r.IntN(4)
		for range n {
			if nulls > 0 && r.IntN(4) < nulls {
				b.AppendNull()
			} else {
				b.Append(r.IntN(3) == 0)
			}
		}
		whole := b.NewArray()
		from := r.IntN(n + 1)
		part := array.NewSlice(whole, int64(from), int64(n)).(*array.Boolean)
		want := []int32{7}
		for i := range part.Len() {
			if part.IsValid(i) && part.Value(i) {
				want = append(want, int32(i))
			}
		}
		if got := trueRows(part, part.Len(), []int32{7}); !slices.Equal(got, want) {
			t.Fatalf("%v: rows %v, want %v", part, got, want)
		}
		for _, a := range []interface{ Release() }{whole, part, b} {
			a.Release()
		}
	}
}
