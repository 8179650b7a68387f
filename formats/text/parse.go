package text

import (
	"errors"
	"math"
	"strconv"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

var (
	errInt     = errors.New("not a whole number")
	errRange   = errors.New("out of range")
	errFloat   = errors.New("not a number")
	errUTF8    = errors.New("not valid UTF-8; declare the column BINARY to take any bytes")
	errBool    = errors.New("neither true nor false")
	errDecimal = errors.New("not a decimal number")
)

// view makes a string of bytes that do not change while it is used.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// ParseInt reads a decimal whole number of 64 bits.
func ParseInt(b []byte) (int64, error) {
	i, neg := 0, false
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		i, neg = 1, b[0] == '-'
	}
	if i == len(b) {
		return 0, errInt
	}
	var v uint64
	for ; i < len(b); i++ {
		d := b[i] - '0'
		if d > 9 {
			return 0, errInt
		}
		if v > math.MaxUint64/10-1 {
			return 0, errRange
		}
		v = v*10 + uint64(d)
	}
	if neg {
		if v > 1<<63 {
			return 0, errRange
		}
		return -int64(v), nil
	}
	if v > math.MaxInt64 {
		return 0, errRange
	}
	return int64(v), nil
}

// ParseFloat reads a number; NaN and Infinity by name too.
func ParseFloat(b []byte, bits int) (float64, error) {
	for _, c := range b {
		if c == '_' || c == 'x' || c == 'X' {
			return 0, errFloat // Go's own forms
		}
	}
	v, err := strconv.ParseFloat(view(b), bits)
	if err != nil && errors.Is(err, strconv.ErrSyntax) {
		return 0, errFloat
	}
	if err != nil {
		return 0, errRange
	}
	return v, nil
}

// ParseBool reads true or false in any case.
func ParseBool(b []byte) (bool, error) {
	if len(b) == 4 && b[0]|0x20 == 't' && b[1]|0x20 == 'r' && b[2]|0x20 == 'u' && b[3]|0x20 == 'e' {
		return true, nil
	}
	if len(b) == 5 && b[0]|0x20 == 'f' && b[1]|0x20 == 'a' && b[2]|0x20 == 'l' && b[3]|0x20 == 's' && b[4]|0x20 == 'e' {
		return false, nil
	}
	return false, errBool
}

const maxDecimalText = 200

// ParseDecimal reads a decimal number, with exponent or without, and rounds it
// half up to the scale, as Spark does.
func ParseDecimal(b []byte, precision, scale int32) (decimal128.Num, error) {
	var zero decimal128.Num
	if len(b) > maxDecimalText {
		return zero, errRange
	}
	i, neg := 0, false
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		i, neg = 1, b[0] == '-'
	}
	var digits [maxDecimalText]byte
	n, point, some := 0, 0, false
	for seen := false; i < len(b); i++ {
		switch c := b[i]; {
		case c-'0' <= 9:
			some = true
			if n > 0 || c != '0' {
				digits[n] = c - '0'
				n++
			}
			if seen {
				point++
			}
			continue
		case c == '.' && !seen:
			seen = true
			continue
		}
		break
	}
	if !some {
		return zero, errDecimal
	}
	exp := int64(0)
	if i < len(b) {
		if b[i]|0x20 != 'e' {
			return zero, errDecimal
		}
		e, err := ParseInt(b[i+1:])
		if err != nil || e > 1000 || e < -1000 {
			return zero, errDecimal
		}
		exp = e
	}
	return roundDecimal(digits[:n], int(exp)-point+int(scale), precision, neg)
}

// roundDecimal returns digits * 10^shift.
func roundDecimal(digits []byte, shift int, precision int32, neg bool) (decimal128.Num, error) {
	var v decimal128.Num
	keep := len(digits)
	if shift < 0 {
		keep = max(keep+shift, 0)
	}
	if keep > 0 && keep+max(shift, 0) > 38 {
		return v, errRange
	}
	ten := decimal128.FromI64(10)
	for _, d := range digits[:keep] {
		v = v.Mul(ten).Add(decimal128.FromI64(int64(d)))
	}
	if shift < 0 && len(digits)+shift >= 0 && keep < len(digits) && digits[keep] >= 5 {
		v = v.Add(decimal128.FromI64(1))
	}
	if keep > 0 && shift > 0 {
		v = v.IncreaseScaleBy(int32(shift))
	}
	if !v.FitsInPrecision(precision) {
		return v, errRange
	}
	if neg {
		v = v.Negate()
	}
	return v, nil
}
