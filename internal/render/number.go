package render

import (
	"math"
	"math/big"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

// AppendFloat appends a floating-point number of 32 or 64 bits as Spark prints
// it: the shortest digits that read back the same, always with a fraction, plain
// from 0.001 up to 10,000,000 and with an exponent outside.
func AppendFloat(dst []byte, v float64, bits int) []byte {
	switch {
	case math.IsNaN(v):
		return append(dst, "NaN"...)
	case math.IsInf(v, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(v, -1):
		return append(dst, "-Infinity"...)
	}
	if a := math.Abs(v); a == 0 || (a >= 1e-3 && a < 1e7) {
		start := len(dst)
		dst = strconv.AppendFloat(dst, v, 'f', -1, bits)
		if !hasByte(dst[start:], '.') {
			dst = append(dst, '.', '0')
		}
		return dst
	}
	return appendExponent(dst, v, bits)
}

// appendExponent turns Go's 1e+07 and 1.5e-05 into 1.0E7 and 1.5E-5.
func appendExponent(dst []byte, v float64, bits int) []byte {
	var scratch [32]byte
	s := strconv.AppendFloat(scratch[:0], v, 'e', -1, bits)
	e := len(s) - 1
	for s[e] != 'e' {
		e--
	}
	dst = append(dst, s[:e]...)
	if !hasByte(s[:e], '.') {
		dst = append(dst, '.', '0')
	}
	dst = append(dst, 'E')
	if s[e+1] == '-' {
		dst = append(dst, '-')
	}
	digits := s[e+2:]
	for len(digits) > 1 && digits[0] == '0' {
		digits = digits[1:]
	}
	return append(dst, digits...)
}

func hasByte(s []byte, b byte) bool {
	for _, c := range s {
		if c == b {
			return true
		}
	}
	return false
}

// AppendDecimal appends a decimal with all digits of its scale.
func AppendDecimal(dst []byte, v decimal128.Num, scale int32) []byte {
	if hi, lo := v.HighBits(), int64(v.LowBits()); hi == lo>>63 && lo != math.MinInt64 {
		if lo < 0 {
			dst, lo = append(dst, '-'), -lo
		}
		var scratch [20]byte
		return appendScaled(dst, strconv.AppendInt(scratch[:0], lo, 10), scale)
	}
	return appendBigDecimal(dst, v.BigInt(), scale)
}

func appendBigDecimal(dst []byte, v *big.Int, scale int32) []byte {
	var scratch [80]byte
	digits := v.Append(scratch[:0], 10)
	if digits[0] == '-' {
		dst, digits = append(dst, '-'), digits[1:]
	}
	return appendScaled(dst, digits, scale)
}

// appendScaled sets the point scale digits from the right.
func appendScaled(dst, digits []byte, scale int32) []byte {
	if scale <= 0 {
		dst = append(dst, digits...)
		if digits[0] == '0' {
			return dst
		}
		for ; scale < 0; scale++ {
			dst = append(dst, '0')
		}
		return dst
	}
	whole := len(digits) - int(scale)
	if whole > 0 {
		dst = append(append(dst, digits[:whole]...), '.')
		return append(dst, digits[whole:]...)
	}
	dst = append(dst, '0', '.')
	for ; whole < 0; whole++ {
		dst = append(dst, '0')
	}
	return append(dst, digits...)
}
