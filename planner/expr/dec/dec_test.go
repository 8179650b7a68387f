package dec

import (
	"math/big"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"pgregory.net/rapid"
)

// drawType draws a precision and scale.
func drawType(t *rapid.T, name string) Type {
	p := rapid.Int32Range(1, 38).Draw(t, name+"P")
	return Type{p, rapid.Int32Range(0, p).Draw(t, name+"S")}
}

// drawNum draws an unscaled value within a type, often small, often at the edge.
func drawNum(t *rapid.T, name string, ty Type) Num {
	limit := new(big.Int).Sub(bigPow10[ty.P], big.NewInt(1))
	digits := rapid.IntRange(0, int(ty.P)).Draw(t, name+"digits")
	v, _ := new(big.Int).SetString("0"+rapid.StringMatching(`[0-9]{0,38}`).Draw(t, name), 10)
	v.Mod(v, bigPow10[digits])
	if rapid.IntRange(0, 9).Draw(t, name+"edge") == 0 {
		v = limit
	}
	if rapid.Bool().Draw(t, name+"neg") {
		v = new(big.Int).Neg(v)
	}
	return decimal128.FromBigInt(v)
}

func rat(v Num, s int32) *big.Rat { return new(big.Rat).SetFrac(v.BigInt(), bigPow10[s]) }

// want rounds an exact result to the type, half away from zero.
func want(x *big.Rat, rt Type) (*big.Int, bool) {
	x = new(big.Rat).Mul(x, new(big.Rat).SetInt(bigPow10[rt.S]))
	twice := new(big.Int).Mul(x.Num(), big.NewInt(2))
	q := new(big.Int).Add(new(big.Int).Abs(twice), x.Denom())
	q.Quo(q, new(big.Int).Mul(x.Denom(), big.NewInt(2)))
	if x.Sign() < 0 {
		q.Neg(q)
	}
	return q, q.CmpAbs(bigPow10[rt.P]) < 0
}

// TestArithmetic compares every operation with exact fractions.
func TestArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at, bt := drawType(t, "a"), drawType(t, "b")
		a, b := drawNum(t, "x", at), drawNum(t, "y", bt)
		x, y := rat(a, at.S), rat(b, bt.S)
		check := func(op string, got Num, ok bool, exact *big.Rat, rt Type) {
			w, fits := want(exact, rt)
			if ok != fits || ok && got.BigInt().Cmp(w) != 0 {
				t.Fatalf("%v %s %v as %v: got %v %v, want %v %v", x, op, y, rt, got.BigInt(), ok, w, fits)
			}
		}
		got, ok := AddScaled(a, b, at, bt, Add(at, bt), false)
		check("+", got, ok, new(big.Rat).Add(x, y), Add(at, bt))
		got, ok = AddScaled(a, b, at, bt, Add(at, bt), true)
		check("-", got, ok, new(big.Rat).Sub(x, y), Add(at, bt))
		got, ok = MulScaled(a, b, at, bt, Mul(at, bt))
		check("*", got, ok, new(big.Rat).Mul(x, y), Mul(at, bt))
		out := make([]Num, 1)
		bad := Loop(OpMul, out, []Num{a}, []Num{b}, 0, 0, at, bt, Type{min(at.P+bt.P, 38), at.S + bt.S})
		if at.S+bt.S <= 38 {
			check("loop *", out[0], len(bad) == 0, new(big.Rat).Mul(x, y), Type{min(at.P+bt.P, 38), at.S + bt.S})
		}
		rt := Type{min(max(at.P, bt.P)+1, 38), at.S}
		bad = Loop(OpSub, out, []Num{a}, []Num{b}, 0, 0, at, Type{bt.P, at.S}, rt)
		check("loop -", out[0], len(bad) == 0, new(big.Rat).Sub(x, rat(b, at.S)), rt)
		if c := Cmp(a, at.S, b, bt.S); c != x.Cmp(y) {
			t.Fatalf("%v cmp %v is %d", x, y, c)
		}
		got, ok = Rescale(a, at.S, bt.S, bt.P)
		check("rescale", got, ok, x, bt)
		if b != (Num{}) {
			got, ok = DivScaled(a, b, at, bt, Div(at, bt))
			check("/", got, ok, new(big.Rat).Quo(x, y), Div(at, bt))
			q := new(big.Rat).Quo(x, y)
			whole := new(big.Int).Quo(q.Num(), q.Denom())
			rem := new(big.Rat).Sub(x, new(big.Rat).Mul(y, new(big.Rat).SetInt(whole)))
			got, ok = ModScaled(a, b, at, bt, Mod(at, bt))
			check("%", got, ok, rem, Mod(at, bt))
			if v, in := QuoInt(a, b, at, bt); in != whole.IsInt64() || in && v != whole.Int64() {
				t.Fatalf("%v div %v is %d %v", x, y, v, in)
			}
		}
	})
}

// TestText pins that what Append writes, Parse reads, and that Float is the nearest double.
func TestText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ty := drawType(t, "t")
		v := drawNum(t, "v", ty)
		s := string(Append(nil, v, ty.S))
		got, bad, over := Parse(s, ty)
		if bad || over || got != v {
			t.Fatalf("%s reads as %v %v %v", s, got, bad, over)
		}
		f, _ := rat(v, ty.S).Float64()
		if Float(v, ty.S) != f {
			t.Fatalf("%s as double is %v, want %v", s, Float(v, ty.S), f)
		}
	})
}

// TestTypes pins Spark's result types.
func TestTypes(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want Type
	}{
		{"add", Add(Type{10, 2}, Type{5, 4}), Type{13, 4}},
		{"add at the limit", Add(Type{38, 10}, Type{38, 10}), Type{38, 9}},
		{"multiply", Mul(Type{10, 2}, Type{5, 4}), Type{16, 6}},
		{"multiply at the limit", Mul(Type{38, 18}, Type{38, 18}), Type{38, 6}},
		{"divide", Div(Type{10, 2}, Type{5, 4}), Type{20, 8}},
		{"divide at the limit", Div(Type{38, 18}, Type{38, 18}), Type{38, 6}},
		{"remainder", Mod(Type{10, 2}, Type{5, 4}), Type{5, 4}},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
}
