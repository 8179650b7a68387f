package dec

import (
	"math"
	"math/big"
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

// Num is an unscaled decimal value.
type Num = decimal128.Num

// pow10 holds 10^0 .. 10^38.
var pow10 = func() (p [39]Num) {
	p[0] = decimal128.FromU64(1)
	for i := 1; i < len(p); i++ {
		p[i] = p[i-1].Mul(decimal128.FromU64(10))
	}
	return p
}()

var bigPow10 = func() (p [115]*big.Int) {
	p[0] = big.NewInt(1)
	for i := 1; i < len(p); i++ {
		p[i] = new(big.Int).Mul(p[i-1], big.NewInt(10))
	}
	return p
}()

// Fits reports whether v has at most p digits.
func Fits(v Num, p int32) bool {
	a := v.Abs()
	if a.HighBits() < 0 {
		return false // the least 128-bit number has no absolute value
	}
	return p >= 39 || a.Less(pow10[p])
}

// small reports whether v is an int64, and returns it.
func small(v Num) (int64, bool) {
	lo := int64(v.LowBits())
	return lo, v.HighBits() == lo>>63
}

// Rescale converts v from one scale to another, rounding half away from zero,
// and reports whether it fits precision p.
func Rescale(v Num, from, to, p int32) (Num, bool) {
	switch d := to - from; {
	case d == 0:
		return v, Fits(v, p)
	case d > 0:
		if d > 38 {
			return v, v.Sign() == 0
		}
		if x, ok := small(v); ok && d <= 18 {
			r := mul64(x, int64(pow10[d].LowBits()))
			return r, Fits(r, p)
		}
		if !Fits(v, 38-d) {
			return v, v == (Num{})
		}
		r := v.Mul(pow10[d])
		return r, Fits(r, p)
	default:
		r := divRound(v, -d)
		return r, Fits(r, p)
	}
}

// divRound divides by 10^d, rounding half away from zero.
func divRound(v Num, d int32) Num {
	if d > 38 {
		return Num{}
	}
	if x, ok := small(v); ok && d <= 18 {
		m := int64(pow10[d].LowBits())
		q, r := x/m, x%m
		if r < 0 {
			r = -r
		}
		if r >= m-r {
			if x < 0 {
				q--
			} else {
				q++
			}
		}
		return decimal128.FromI64(q)
	}
	q, r := v.Div(pow10[d])
	r = r.Abs()
	if r.GreaterEqual(pow10[d].Sub(r)) {
		if v.Sign() < 0 {
			return q.Sub(pow10[0])
		}
		return q.Add(pow10[0])
	}
	return q
}

// mul64 is the exact product of two 64-bit integers.
func mul64(a, b int64) Num {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	h := int64(hi)
	if a < 0 {
		h -= b
	}
	if b < 0 {
		h -= a
	}
	return decimal128.New(h, lo)
}

// AddScaled returns a+b (or a-b) of the given scales in the result type.
func AddScaled(a, b Num, at, bt, rt Type, neg bool) (Num, bool) {
	s := max(at.S, bt.S)
	x, ok1 := Rescale(a, at.S, s, MaxPrecision)
	y, ok2 := Rescale(b, bt.S, s, MaxPrecision)
	if !ok1 || !ok2 {
		return addBig(a, b, at, bt, rt, neg)
	}
	if neg {
		y = y.Negate()
	}
	// Two 38-digit numbers sum to less than 2^127.9: the sign tells of an overflow.
	r := x.Add(y)
	if x.Sign() == y.Sign() && x.Sign() != 0 && r.Sign() != x.Sign() {
		return addBig(a, b, at, bt, rt, neg)
	}
	if s == rt.S {
		return r, Fits(r, rt.P)
	}
	return Rescale(r, s, rt.S, rt.P)
}

func addBig(a, b Num, at, bt, rt Type, neg bool) (Num, bool) {
	s := max(at.S, bt.S)
	x := new(big.Int).Mul(a.BigInt(), bigPow10[s-at.S])
	y := new(big.Int).Mul(b.BigInt(), bigPow10[s-bt.S])
	if neg {
		x.Sub(x, y)
	} else {
		x.Add(x, y)
	}
	return fromBig(x, s, rt)
}

// MulScaled returns a*b in the result type.
func MulScaled(a, b Num, at, bt, rt Type) (Num, bool) {
	s := at.S + bt.S
	if x, ok := small(a); ok {
		if y, ok := small(b); ok {
			r := mul64(x, y)
			if s == rt.S {
				return r, Fits(r, rt.P)
			}
			if Fits(r, MaxPrecision) {
				return Rescale(r, s, rt.S, rt.P)
			}
		}
	}
	return fromBig(new(big.Int).Mul(a.BigInt(), b.BigInt()), s, rt)
}

// Op is an operation that a Loop computes.
type Op byte

// The operations of Loop.
const (
	OpAdd Op = iota
	OpSub
	OpMul
)

// Loop computes whole columns where the operands' scales give the result's:
// equal ones to add, their sum to multiply. ma and mb are -1, or 0 for a
// constant. It returns the rows that did not fit; those of NULL may be among them.
func Loop(op Op, out, a, b []Num, ma, mb int, at, bt, rt Type) (bad []int32) {
	if op == OpMul && at.P+bt.P <= rt.P && (ma == 0) != (mb == 0) {
		// No product of so few digits is too long.
		column, constant := a, b
		if ma == 0 {
			column, constant = b, a
		}
		if c, ok := small(constant[0]); ok && mulLoop(out, column[:len(out)], c) {
			return nil
		}
	}
	limit := pow10[min(rt.P, MaxPrecision)]
	for i := range out {
		x, y := a[i&ma], b[i&mb]
		xl, yl := int64(x.LowBits()), int64(y.LowBits())
		if x.HighBits() == xl>>63 && y.HighBits() == yl>>63 {
			var r Num
			switch op {
			case OpMul:
				r = mul64(xl, yl)
			case OpSub:
				r = x.Sub(y)
			default:
				r = x.Add(y)
			}
			// A product of two 64-bit numbers is less than 10^38.
			if rt.P < MaxPrecision && !r.Abs().Less(limit) {
				bad = append(bad, int32(i))
			}
			out[i] = r
			continue
		}
		r, ok := wide(op, x, y, at, bt, rt)
		if !ok {
			bad = append(bad, int32(i))
		}
		out[i] = r
	}
	return bad
}

func wide(op Op, x, y Num, at, bt, rt Type) (Num, bool) {
	if op == OpMul {
		return MulScaled(x, y, at, bt, rt)
	}
	return AddScaled(x, y, at, bt, rt, op == OpSub)
}

// DivScaled returns a/b in the result type; b is not zero.
func DivScaled(a, b Num, at, bt, rt Type) (Num, bool) {
	shift := rt.S - at.S + bt.S
	if x, ok := small(a); ok && shift >= 0 && shift <= 18 {
		if y, ok := small(b); ok {
			if r, ok := divSmall(x, y, pow10[shift].LowBits()); ok {
				return r, Fits(r, rt.P)
			}
		}
	}
	num, den := a.BigInt(), b.BigInt()
	if shift >= 0 {
		num = new(big.Int).Mul(num, bigPow10[shift])
	} else {
		den = new(big.Int).Mul(den, bigPow10[-shift])
	}
	return toNum(quoRound(num, den), rt.P)
}

// divSmall is x*m/y rounded, while the quotient fits 63 bits.
func divSmall(x, y int64, m uint64) (Num, bool) {
	neg := (x < 0) != (y < 0)
	ux, uy := absU(x), absU(y)
	hi, lo := bits.Mul64(ux, m)
	if hi >= uy {
		return Num{}, false
	}
	q, r := bits.Div64(hi, lo, uy)
	if r >= uy-r {
		q++
	}
	if q > math.MaxInt64 {
		return Num{}, false
	}
	if neg {
		return decimal128.FromI64(-int64(q)), true
	}
	return decimal128.FromI64(int64(q)), true
}

func absU(x int64) uint64 {
	if x < 0 {
		return uint64(-x)
	}
	return uint64(x)
}

// ModScaled returns the remainder of a/b with the sign of a; b is not zero.
func ModScaled(a, b Num, at, bt, rt Type) (Num, bool) {
	s := max(at.S, bt.S)
	x, ok1 := Rescale(a, at.S, s, MaxPrecision)
	y, ok2 := Rescale(b, bt.S, s, MaxPrecision)
	if ok1 && ok2 {
		_, r := x.Div(y)
		return Rescale(r, s, rt.S, rt.P)
	}
	bx := new(big.Int).Mul(a.BigInt(), bigPow10[s-at.S])
	by := new(big.Int).Mul(b.BigInt(), bigPow10[s-bt.S])
	return fromBig(bx.Rem(bx, by), s, rt)
}

// QuoInt returns the whole part of a/b as an int64; b is not zero.
func QuoInt(a, b Num, at, bt Type) (int64, bool) {
	s := max(at.S, bt.S)
	x := new(big.Int).Mul(a.BigInt(), bigPow10[s-at.S])
	y := new(big.Int).Mul(b.BigInt(), bigPow10[s-bt.S])
	x.Quo(x, y)
	return x.Int64(), x.IsInt64()
}

// Cmp orders two decimals of any scales.
func Cmp(a Num, as int32, b Num, bs int32) int {
	if as == bs {
		return a.Cmp(b)
	}
	s := max(as, bs)
	x, ok1 := Rescale(a, as, s, MaxPrecision)
	y, ok2 := Rescale(b, bs, s, MaxPrecision)
	if ok1 && ok2 {
		return x.Cmp(y)
	}
	bx := new(big.Int).Mul(a.BigInt(), bigPow10[s-as])
	return bx.Cmp(new(big.Int).Mul(b.BigInt(), bigPow10[s-bs]))
}

// Round rounds to d fraction digits (d may be negative), half away from zero or half to even.
func Round(v Num, scale, d int32, even bool) (Num, bool) {
	if d >= scale {
		return v, true
	}
	drop := scale - d
	q := divRound(v, drop)
	if even && drop <= 38 {
		whole, r := v.Div(pow10[drop])
		if r = r.Abs(); r == pow10[drop].Sub(r) && whole.LowBits()&1 == 0 {
			q = whole
		}
	}
	if d < 0 {
		return Rescale(q, 0, -d, MaxPrecision)
	}
	return q, true
}

// Floor rounds down and Ceil up to a whole number, of scale 0.
func Floor(v Num, scale int32) Num {
	q, r := v.Div(pow10[scale])
	if r.Sign() < 0 {
		return q.Sub(pow10[0])
	}
	return q
}

// Ceil rounds up to a whole number, of scale 0.
func Ceil(v Num, scale int32) Num {
	q, r := v.Div(pow10[scale])
	if r.Sign() > 0 {
		return q.Add(pow10[0])
	}
	return q
}

func fromBig(x *big.Int, s int32, rt Type) (Num, bool) {
	switch {
	case rt.S > s:
		x = new(big.Int).Mul(x, bigPow10[rt.S-s])
	case rt.S < s:
		x = quoRound(x, bigPow10[s-rt.S])
	}
	return toNum(x, rt.P)
}

func quoRound(num, den *big.Int) *big.Int {
	q, r := new(big.Int).QuoRem(num, den, new(big.Int))
	r.Abs(r).Lsh(r, 1)
	if r.CmpAbs(den) >= 0 {
		if num.Sign()*den.Sign() < 0 {
			q.Sub(q, big.NewInt(1))
		} else {
			q.Add(q, big.NewInt(1))
		}
	}
	return q
}

func toNum(x *big.Int, p int32) (Num, bool) {
	if x.BitLen() > 127 {
		return Num{}, false
	}
	v := decimal128.FromBigInt(x)
	return v, Fits(v, p)
}

// Float returns the nearest double.
func Float(v Num, scale int32) float64 {
	if x, ok := small(v); ok && scale <= 22 && x > -(1<<53) && x < 1<<53 {
		return float64(x) / floatPow10[scale]
	}
	f, _ := new(big.Rat).SetFrac(v.BigInt(), bigPow10[scale]).Float64()
	return f
}

var floatPow10 = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14,
	1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// Int returns the whole part, cut towards zero, where it is an int64.
func Int(v Num, scale int32) (int64, bool) {
	if scale > 0 {
		v, _ = v.Div(pow10[scale])
	}
	return small(v)
}

// FromInt makes a decimal of an integer.
func FromInt(v int64, t Type) (Num, bool) { return Rescale(decimal128.FromI64(v), 0, t.S, t.P) }
