package dec

import (
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

// FromInts fills out with integers as decimals of a scale up to 18. It does not look
// whether they fit: any precision that is the scale and the integers' own digits is enough.
func FromInts[T int8 | int16 | int32 | int64](out []Num, in []T, scale int32) {
	out = out[:len(in)]
	if scale == 0 {
		for i, v := range in {
			out[i] = decimal128.FromI64(int64(v))
		}
		return
	}
	unit := int64(pow10[scale].LowBits())
	for i, v := range in {
		out[i] = mul64(int64(v), unit)
	}
}

// AllFit reports whether all values have at most p digits.
func AllFit(vs []Num, p int32) bool {
	for _, v := range vs {
		if _, ok := small(v); ok && p >= 19 {
			continue
		}
		if !Fits(v, p) {
			return false
		}
	}
	return true
}

// below is 1 if a is less than b.
func below(a, b Num) uint64 {
	const sign = 1 << 63
	_, borrow := bits.Sub64(a.LowBits(), b.LowBits(), 0)
	_, borrow = bits.Sub64(uint64(a.HighBits())^sign, uint64(b.HighBits())^sign, borrow)
	return borrow
}

// CompareWord compares up to 64 values with one of the same scale by an operator
// (= <> < <= > >=) and returns a bit for each.
func CompareWord(op string, vs []Num, c Num) (w uint64) {
	switch op {
	case "<":
		for j, v := range vs {
			w |= below(v, c) << (j & 63)
		}
	case ">=":
		for j, v := range vs {
			w |= (1 - below(v, c)) << (j & 63)
		}
	case ">":
		for j, v := range vs {
			w |= below(c, v) << (j & 63)
		}
	case "<=":
		for j, v := range vs {
			w |= (1 - below(c, v)) << (j & 63)
		}
	case "=":
		for j, v := range vs {
			if v == c {
				w |= 1 << (j & 63)
			}
		}
	default:
		for j, v := range vs {
			if v != c {
				w |= 1 << (j & 63)
			}
		}
	}
	return w
}

// mulLoop is Loop's for a product by a constant where no product can have too many
// digits. It returns false at a value beyond 64 bits.
func mulLoop(out, a []Num, c int64) bool {
	out = out[:len(a)]
	for i, v := range a {
		x, ok := small(v)
		if !ok {
			return false
		}
		out[i] = mul64(x, c)
	}
	return true
}
