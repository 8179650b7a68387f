package dec

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Whole columns are what their values are one by one.
func TestColumns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at, bt := drawType(t, "a"), drawType(t, "b")
		c := drawNum(t, "c", bt)
		var vs []Num
		for range rapid.IntRange(1, 64).Draw(t, "n") {
			if Fits(c, at.P) && rapid.IntRange(0, 5).Draw(t, "equal") == 0 {
				vs = append(vs, c)
				continue
			}
			vs = append(vs, drawNum(t, "v", at))
		}
		for op, test := range map[string]func(int) bool{
			"<": func(c int) bool { return c < 0 }, "<=": func(c int) bool { return c <= 0 }, "=": func(c int) bool { return c == 0 },
			">": func(c int) bool { return c > 0 }, ">=": func(c int) bool { return c >= 0 }, "<>": func(c int) bool { return c != 0 },
		} {
			w := CompareWord(op, vs, c)
			for i, v := range vs {
				if got := w>>i&1 == 1; got != test(v.Cmp(c)) {
					t.Fatalf("%v %s %v is %v", v, op, c, got)
				}
			}
		}
		fits := !slices.ContainsFunc(vs, func(v Num) bool { return !Fits(v, bt.P) })
		if AllFit(vs, bt.P) != fits {
			t.Fatalf("all of %v fit %d digits: %v", vs, bt.P, !fits)
		}
		rt := Mul(at, bt)
		if rt.S != at.S+bt.S {
			return
		}
		for _, left := range []bool{false, true} {
			out := make([]Num, len(vs))
			var bad []int32
			if left {
				bad = Loop(OpMul, out, []Num{c}, vs, 0, -1, bt, at, rt)
			} else {
				bad = Loop(OpMul, out, vs, []Num{c}, -1, 0, at, bt, rt)
			}
			for i, v := range vs {
				want, ok := MulScaled(v, c, at, bt, rt)
				if ok == slices.Contains(bad, int32(i)) || ok && out[i] != want {
					t.Fatalf("%v * %v as %v: %v %v, want %v %v", v, c, rt, out[i], bad, want, ok)
				}
			}
		}
	})
}

func TestFromInts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.SliceOf(rapid.Int64()).Draw(t, "in")
		scale := rapid.Int32Range(0, 18).Draw(t, "scale")
		out := make([]Num, len(in))
		FromInts(out, in, scale)
		for i, v := range in {
			if want, ok := FromInt(v, Type{38, scale}); !ok || out[i] != want {
				t.Fatalf("%d at scale %d: %v, want %v", v, scale, out[i], want)
			}
		}
	})
}
