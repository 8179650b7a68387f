package functions

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/civil"
)

func stringColumn(alloc memory.Allocator, vs []string, nulls bool) arrow.Array {
	b := array.NewStringBuilder(alloc)
	defer b.Release()
	for i, v := range vs {
		if nulls && i%7 == 3 {
			b.AppendNull()
		} else {
			b.Append(v)
		}
	}
	return b.NewArray()
}

// The searches of a constant pattern agree with matching row by row, on slices
// and across the ends of rows.
func TestAConstantPatternMatchesAsRowByRow(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(4, 2))
	vs := make([]string, 300)
	for i := range vs {
		for range r.IntN(9) {
			vs[i] += string("abé9"[r.IntN(5)])
		}
		vs[i] = strings.ToValidUTF8(vs[i], "é")
	}
	esc := stringColumn(alloc, []string{"\\"}, false)
	defer esc.Release()
	for _, nulls := range []bool{false, true} {
		whole := stringColumn(alloc, vs, nulls)
		for _, p := range []string{"", "%", "%%", "a", "a%", "%a", "%a%", "%ab%", "ab", "%a%b%", "a_", "%_a%", "%é%", "é%", "%bé", "%abab%", "%9"} {
			l, err := newLike(p, "\\", false)
			if err != nil {
				t.Fatal(err)
			}
			pat := stringColumn(alloc, []string{p}, false)
			for _, cut := range [][2]int64{{0, 300}, {17, 203}, {5, 6}, {9, 9}} {
				col := array.NewSlice(whole, cut[0], cut[1]).(*array.String)
				kc := &expr.KernelContext{Alloc: alloc, Result: expr.TypeBool}
				k := constantLike(func(*expr.KernelContext, []expr.Vec, int) (arrow.Array, error) {
					return array.MakeArrayOfNull(alloc, expr.TypeBool, col.Len()), nil
				}, false)
				got, err := k(kc, []expr.Vec{{Arr: col}, {Arr: pat, Const: true}, {Arr: esc, Const: true}}, col.Len())
				if err != nil {
					t.Fatal(err)
				}
				for i := range col.Len() {
					if col.IsValid(i) != got.IsValid(i) || col.IsValid(i) && got.(*array.Boolean).Value(i) != l.match(col.Value(i)) {
						t.Errorf("%q LIKE %q: %s", col.ValueStr(i), p, got.ValueStr(i))
					}
				}
				got.Release()
				col.Release()
			}
			pat.Release()
		}
		whole.Release()
	}
}

func TestAConstantUnitCutsAsRowByRow(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(4, 2))
	b := array.NewTimestampBuilder(alloc, expr.TypeTimestamp)
	defer b.Release()
	v := int64(-3 * civil.Day)
	for i := range 2000 {
		if i%11 == 5 {
			b.AppendNull()
			continue
		}
		v += r.Int64N(civil.Hour) - civil.Minute
		if i%97 == 0 {
			v = r.Int64N(400*366*civil.Day) - 200*366*civil.Day
		}
		b.Append(arrow.Timestamp(v))
	}
	whole := b.NewArray()
	defer whole.Release()
	col := array.NewSlice(whole, 3, 1990).(*array.Timestamp)
	defer col.Release()
	for _, unit := range []string{"year", "YY", "quarter", "Month", "week", "day", "hour", "MINUTE", "second", "millisecond", "microsecond", "eon"} {
		one := stringColumn(alloc, []string{unit}, false)
		kc := &expr.KernelContext{Alloc: alloc, Result: expr.TypeTimestamp}
		got, err := dateTrunc(nil, true)(kc, []expr.Vec{{Arr: one, Const: true}, {Arr: col}}, col.Len())
		if err != nil {
			t.Fatal(err)
		}
		for i := range col.Len() {
			want, ok := truncate(unit, int64(col.Value(i)))
			ok = ok && col.IsValid(i)
			if ok != got.IsValid(i) || ok && int64(got.(*array.Timestamp).Value(i)) != want {
				t.Fatalf("date_trunc(%s, %s) = %s", unit, col.ValueStr(i), got.ValueStr(i))
			}
		}
		got.Release()
		one.Release()
	}
}
