package cast

import (
	"math"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/civil"
	"github.com/sluice-stream/sluice/planner/expr/dec"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

type integer interface{ int8 | int16 | int32 | int64 }

func showInt[A integer](a A) string { return strconv.FormatInt(int64(a), 10) }

func narrow[A, R integer](a A) (R, code) {
	r := R(a)
	if A(r) != a {
		return 0, overflow
	}
	return r, ok
}

// intTo makes the cast between two integer types, a plain loop if it only widens.
func intTo[A, R integer](c conv) expr.Kernel {
	if bits(c.to) >= bits(c.from) {
		return vec.Widen[A, R]()
	}
	return plain(c, showInt[A], narrow[A, R])
}

func bits(dt arrow.DataType) int { return dt.(arrow.FixedWidthDataType).BitWidth() }

func fromInt[A integer](c conv) expr.Kernel {
	switch c.to.ID() {
	case arrow.INTERVAL_MONTHS, arrow.DURATION:
		return intToInterval[A](c)
	case arrow.INT8:
		return intTo[A, int8](c)
	case arrow.INT16:
		return intTo[A, int16](c)
	case arrow.INT32:
		return intTo[A, int32](c)
	case arrow.INT64:
		return intTo[A, int64](c)
	case arrow.FLOAT32:
		return vec.Widen[A, float32]()
	case arrow.FLOAT64:
		return vec.Widen[A, float64]()
	case arrow.BOOL:
		return plain(c, showInt[A], func(a A) (bool, code) { return a != 0, ok })
	case arrow.STRING:
		return plainText(func(dst []byte, a A) []byte { return strconv.AppendInt(dst, int64(a), 10) })
	case arrow.DECIMAL128:
		return intDecimal[A](c)
	case arrow.TIMESTAMP:
		if c.to.(*arrow.TimestampType).TimeZone == "" {
			return nil
		}
		return plain(c, showInt[A], func(a A) (int64, code) {
			s := int64(a)
			if s > math.MaxInt64/civil.Second || s < math.MinInt64/civil.Second {
				return 0, overflow
			}
			return s * civil.Second, ok
		})
	}
	return nil
}

// digits is how many an integer of so many bits has at most.
var digits = map[int]int32{8: 3, 16: 5, 32: 10, 64: 19}

func intDecimal[A integer](c conv) expr.Kernel {
	t, _ := dec.Of(c.to)
	if t.S <= 18 && t.P-t.S >= digits[bits(c.from)] {
		return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
			n = vec.Rows(args, n)
			m := vec.StrictMask(kc.Alloc, args, n)
			if m.AllNull() {
				m.Release()
				return vec.NullArray(kc.Alloc, kc.Result, n), nil
			}
			buf, out := vec.NewFixed[dec.Num](kc.Alloc, n)
			dec.FromInts(out, vec.Values[A](args[0].Arr), t.S)
			return m.Array(kc.Result, buf), nil
		}
	}
	return plain(c, showInt[A], func(a A) (dec.Num, code) {
		v, fits := dec.FromInt(int64(a), t)
		return v, overIf(!fits)
	})
}

// narrowDecimal is the cast to a type of the same scale and fewer digits: the
// column itself, if all of it fits.
func narrowDecimal(to dec.Type, each expr.Kernel) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		if args[0].Arr.DataType().ID() == arrow.DECIMAL128 && dec.AllFit(vec.Values[dec.Num](args[0].Arr), to.P) {
			return vec.Reinterpret(kc, args, n)
		}
		return each(kc, args, n)
	}
}

func overIf(b bool) code {
	if b {
		return overflow
	}
	return ok
}

func showFloat[A float32 | float64](a A) string { return string(AppendFloat(nil, float64(a), 64)) }

// floatInt cuts towards zero. The bounds are exact as floats: lo = -2^(b-1), hi = 2^(b-1).
func floatInt[A float32 | float64, R integer](c conv) expr.Kernel {
	lo := -math.Pow(2, float64(bits(c.to)-1))
	return plain(c, showFloat[A], func(a A) (R, code) {
		f := math.Trunc(float64(a))
		if !(f >= lo && f < -lo) {
			return 0, overflow
		}
		return R(f), ok
	})
}

func fromFloat[A float32 | float64](c conv) expr.Kernel {
	switch c.to.ID() {
	case arrow.INT8:
		return floatInt[A, int8](c)
	case arrow.INT16:
		return floatInt[A, int16](c)
	case arrow.INT32:
		return floatInt[A, int32](c)
	case arrow.INT64:
		return floatInt[A, int64](c)
	case arrow.FLOAT32:
		return vec.Widen[A, float32]()
	case arrow.FLOAT64:
		return vec.Widen[A, float64]()
	case arrow.BOOL:
		return plain(c, showFloat[A], func(a A) (bool, code) { return a != 0, ok })
	case arrow.STRING:
		size := bits(c.from)
		return plainText(func(dst []byte, a A) []byte { return AppendFloat(dst, float64(a), size) })
	case arrow.DECIMAL128:
		t, _ := dec.Of(c.to)
		return plain(c, showFloat[A], func(a A) (dec.Num, code) {
			v, over := dec.FromFloat(float64(a), t)
			return v, overIf(over)
		})
	case arrow.TIMESTAMP:
		if c.to.(*arrow.TimestampType).TimeZone == "" {
			return nil
		}
		return plain(c, showFloat[A], func(a A) (int64, code) {
			f := float64(a) * float64(civil.Second)
			if !(f >= -(1<<63) && f < 1<<63) {
				return 0, overflow
			}
			return int64(f), ok
		})
	}
	return nil
}

// AppendFloat writes a number as Spark does: 1.0, 1.0E10, NaN, Infinity, with
// the fewest digits that read back as the same number.
func AppendFloat(dst []byte, f float64, size int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	case f == 0:
		if math.Signbit(f) {
			return append(dst, "-0.0"...)
		}
		return append(dst, "0.0"...)
	}
	if a := math.Abs(f); a >= 1e-3 && a < 1e7 {
		n := len(dst)
		dst = strconv.AppendFloat(dst, f, 'f', -1, size)
		return pointed(dst, n)
	}
	var tmp [32]byte
	s := strconv.AppendFloat(tmp[:0], f, 'e', -1, size)
	e := len(s) - 1
	for s[e] != 'e' {
		e--
	}
	n := len(dst)
	dst = pointed(append(dst, s[:e]...), n)
	dst = append(dst, 'E')
	exp, _ := strconv.Atoi(string(s[e+1:]))
	return strconv.AppendInt(dst, int64(exp), 10)
}

// pointed adds .0 where the digits from n on have no point.
func pointed(dst []byte, n int) []byte {
	for _, c := range dst[n:] {
		if c == '.' {
			return dst
		}
	}
	return append(dst, '.', '0')
}

func (c conv) fromDecimal() expr.Kernel {
	t, _ := dec.Of(c.from)
	show := func(a dec.Num) string { return string(dec.Append(nil, a, t.S)) }
	switch c.to.ID() {
	case arrow.INTERVAL_MONTHS, arrow.DURATION:
		return decimalToInterval(c)
	case arrow.INT8:
		return decInt[int8](c, show)
	case arrow.INT16:
		return decInt[int16](c, show)
	case arrow.INT32:
		return decInt[int32](c, show)
	case arrow.INT64:
		return decInt[int64](c, show)
	case arrow.FLOAT32:
		return plain(c, show, func(a dec.Num) (float32, code) { return float32(dec.Float(a, t.S)), ok })
	case arrow.FLOAT64:
		return plain(c, show, func(a dec.Num) (float64, code) { return dec.Float(a, t.S), ok })
	case arrow.BOOL:
		return plain(c, show, func(a dec.Num) (bool, code) { return a != decimal128.Num{}, ok })
	case arrow.STRING:
		return plainText(func(dst []byte, a dec.Num) []byte { return dec.Append(dst, a, t.S) })
	case arrow.DECIMAL128:
		to, _ := dec.Of(c.to)
		if to.S == t.S && to.P >= t.P {
			return vec.Reinterpret
		}
		each := plain(c, show, func(a dec.Num) (dec.Num, code) {
			v, fits := dec.Rescale(a, t.S, to.S, to.P)
			return v, overIf(!fits)
		})
		if to.S == t.S {
			return narrowDecimal(to, each)
		}
		return each
	case arrow.TIMESTAMP:
		if c.to.(*arrow.TimestampType).TimeZone == "" {
			return nil
		}
		return plain(c, show, func(a dec.Num) (int64, code) {
			v, fits := dec.Rescale(a, t.S, 6, dec.MaxPrecision)
			us, in := dec.Int(v, 0)
			return us, overIf(!fits || !in)
		})
	}
	return nil
}

func decInt[R integer](c conv, show func(dec.Num) string) expr.Kernel {
	t, _ := dec.Of(c.from)
	return plain(c, show, func(a dec.Num) (R, code) {
		v, fits := dec.Int(a, t.S)
		if r := R(v); fits && int64(r) == v {
			return r, ok
		}
		return 0, overflow
	})
}

func (c conv) fromBool() expr.Kernel {
	switch c.to.ID() {
	case arrow.INT8:
		return boolInt[int8](c)
	case arrow.INT16:
		return boolInt[int16](c)
	case arrow.INT32:
		return boolInt[int32](c)
	case arrow.INT64:
		return boolInt[int64](c)
	case arrow.FLOAT32:
		return boolInt[float32](c)
	case arrow.FLOAT64:
		return boolInt[float64](c)
	case arrow.STRING:
		return plainText(strconv.AppendBool)
	case arrow.DECIMAL128:
		t, _ := dec.Of(c.to)
		return plain(c, strconv.FormatBool, func(a bool) (dec.Num, code) {
			v, _ := boolTo[int64](a)
			d, fits := dec.FromInt(v, t)
			return d, overIf(!fits)
		})
	}
	return nil
}

func boolTo[R integer | float32 | float64](a bool) (R, code) {
	if a {
		return 1, ok
	}
	return 0, ok
}

func boolInt[R integer | float32 | float64](c conv) expr.Kernel {
	return plain(c, strconv.FormatBool, boolTo[R])
}
