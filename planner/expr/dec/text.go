package dec

import (
	"math/big"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

// Append writes v in plain notation with all digits of its scale.
func Append(dst []byte, v Num, scale int32) []byte {
	if v.Sign() < 0 {
		dst = append(dst, '-')
	}
	var tmp [48]byte
	digits := tmp[:0]
	if x, ok := small(v); ok {
		digits = strconv.AppendUint(digits, absU(x), 10)
	} else {
		b := v.BigInt()
		digits = b.Abs(b).Append(digits, 10)
	}
	n := int32(len(digits))
	if scale <= 0 {
		return append(dst, digits...)
	}
	if n <= scale {
		dst = append(dst, '0', '.')
		for range scale - n {
			dst = append(dst, '0')
		}
		return append(dst, digits...)
	}
	dst = append(dst, digits[:n-scale]...)
	dst = append(dst, '.')
	return append(dst, digits[n-scale:]...)
}

// Parse reads plain or scientific notation into the type, rounding half away
// from zero. bad says that s is no number, over that it does not fit.
func Parse(s string, t Type) (v Num, bad, over bool) {
	m, exp, ok := scan(s)
	if !ok {
		return Num{}, true, false
	}
	if m.Sign() == 0 {
		return Num{}, false, false
	}
	// The value is m * 10^exp; wanted is m * 10^(exp+S).
	shift := exp + int64(t.S)
	switch {
	case shift > 80 || shift >= 0 && m.BitLen() > 200:
		return Num{}, false, true
	case shift >= 0:
		m.Mul(m, bigPow10[shift])
	case -shift >= int64(len(bigPow10)):
		if int64(len(m.String())) < -shift {
			return Num{}, false, false
		}
		m = quoRound(m, new(big.Int).Exp(big.NewInt(10), big.NewInt(-shift), nil))
	default:
		m = quoRound(m, bigPow10[-shift])
	}
	v, fits := toNum(m, t.P)
	return v, false, !fits
}

// scan reads digits, a point and an exponent as mantissa and power of ten.
func scan(s string) (m *big.Int, exp int64, ok bool) {
	neg, i := false, 0
	if i < len(s) && (s[i] == '+' || s[i] == '-') {
		neg = s[i] == '-'
		i++
	}
	var digits []byte
	var buf [64]byte
	digits = buf[:0]
	seen, point := false, false
	for ; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= '0' && c <= '9':
			seen = true
			if len(digits) > 0 || c != '0' {
				digits = append(digits, c)
			}
			if point {
				exp--
			}
			continue
		case c == '.' && !point:
			point = true
			continue
		}
		break
	}
	if !seen {
		return nil, 0, false
	}
	if i < len(s) {
		if s[i] != 'e' && s[i] != 'E' {
			return nil, 0, false
		}
		e, err := strconv.ParseInt(s[i+1:], 10, 32)
		if err != nil {
			return nil, 0, false
		}
		exp += e
	}
	m = new(big.Int)
	if len(digits) == 0 {
		return m, exp, true
	}
	if len(digits) <= 18 {
		x, _ := strconv.ParseInt(string(digits), 10, 64)
		m.SetInt64(x)
	} else {
		m.SetString(string(digits), 10)
	}
	if neg {
		m.Neg(m)
	}
	return m, exp, true
}

// FromFloat converts the shortest decimal text of f, as Spark does.
func FromFloat(f float64, t Type) (v Num, over bool) {
	var tmp [32]byte
	s := strconv.AppendFloat(tmp[:0], f, 'e', -1, 64)
	v, bad, over := Parse(string(s), t)
	return v, bad || over
}

// FromI64 is the unscaled integer itself.
func FromI64(v int64) Num { return decimal128.FromI64(v) }
