package functions

import (
	"cmp"
	"math"
	"math/bits"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/dec"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// real makes an entry for a function of one DOUBLE.
func real(names, doc, ex, res string, f func(float64) float64) *Entry {
	return fn(names, doc, ex, res, sig("double -> double", p1(f))).safe().tight()
}

// realNull is real for functions without a value outside of their domain.
func realNull(names, doc, ex, res string, ok func(float64) bool, f func(float64) float64) *Entry {
	return fn(names, doc, ex, res, sig("double -> double", k1(func(x float64) (float64, error) {
		if !ok(x) {
			return 0, vec.ErrNull
		}
		return f(x), nil
	}))).safe()
}

func positive(x float64) bool { return x > 0 || x != x }

func maths() []*Entry {
	es := []*Entry{
		fn("abs", "The absolute value.", "abs(-3)", "3", sigR("numeric", sameAs(0), byNumber(absKernels())),
			sig("months -> months", absInt[int32](expr.TypeMonths)), sig("duration -> duration", absInt[int64](expr.TypeDuration))).tight(),
		fn("sign|signum", "-1, 0 or 1 by the sign, as DOUBLE.", "sign(-2.5)", "-1.0", sig("double -> double", p1(func(x float64) float64 {
			switch {
			case x > 0:
				return 1
			case x < 0:
				return -1
			}
			return x
		})), sig("months -> double", p1(func(m int32) float64 { return float64(cmp.Compare(m, 0)) })), sig("duration -> double", p1(func(us int64) float64 { return float64(cmp.Compare(us, 0)) }))).safe().tight(),
		fn("positive", "The argument itself.", "positive(3)", "3", sigR("numeric", sameAs(0), expr.Kernel(passOn)), sig("months -> months", expr.Kernel(passOn)), sig("duration -> duration", expr.Kernel(passOn))).safe().tight(),
		wholeEntry("ceil|ceiling", "The least whole number that is not less.", "ceil(1.2)", "2", wholeSigs(math.Ceil, dec.Ceil)...),
		wholeEntry("floor", "The greatest whole number that is not greater.", "floor(-1.2)", "-2", wholeSigs(math.Floor, dec.Floor)...),
		fn("round", "Rounds half away from zero to a number of fraction digits (0 if not given; negative ones round tens and more).",
			"round(2.345, 2)", "2.35", roundSig(false)),
		fn("bround", "Rounds half to the even digit.", "bround(2.5, 0)", "2", roundSig(true)),
		real("rint", "The nearest whole number as DOUBLE, half to even.", "rint(2.5)", "2.0", math.RoundToEven),
		fn("pow|power", "A number to a power.", "pow(2, 10)", "1024.0", sig("double, double -> double", p2(power))).safe().tight(),
		real("sqrt", "The square root; NaN of a negative number.", "sqrt(16)", "4.0", math.Sqrt),
		real("cbrt", "The cube root.", "cbrt(27)", "3.0", math.Cbrt),
		real("exp", "e to a power.", "exp(0)", "1.0", math.Exp),
		real("expm1", "exp(x) - 1, exact for small x.", "expm1(0)", "0.0", math.Expm1),
		realNull("ln", "The natural logarithm; NULL where it has none.", "ln(1)", "0.0", positive, math.Log),
		fn("log", "The logarithm of the second argument to the base of the first, or the natural one.", "log(2, 8)", "3.0",
			sig("double -> double", k1(func(x float64) (float64, error) { return logOf(math.E, x) })),
			sig("double, double -> double", k2(logOf))).safe(),
		realNull("log10", "The logarithm to base 10.", "log10(1000)", "3.0", positive, math.Log10),
		realNull("log2", "The logarithm to base 2.", "log2(8)", "3.0", positive, math.Log2),
		realNull("log1p", "ln(1 + x), exact for small x.", "log1p(0)", "0.0", func(x float64) bool { return x > -1 || x != x }, math.Log1p),
		real("sin", "Sine.", "sin(0)", "0.0", math.Sin), real("cos", "Cosine.", "cos(0)", "1.0", math.Cos),
		real("tan", "Tangent.", "tan(0)", "0.0", math.Tan), real("asin", "Arc sine.", "asin(0)", "0.0", math.Asin),
		real("acos", "Arc cosine.", "acos(1)", "0.0", math.Acos), real("atan", "Arc tangent.", "atan(0)", "0.0", math.Atan),
		real("sinh", "Hyperbolic sine.", "sinh(0)", "0.0", math.Sinh), real("cosh", "Hyperbolic cosine.", "cosh(0)", "1.0", math.Cosh),
		real("tanh", "Hyperbolic tangent.", "tanh(0)", "0.0", math.Tanh), real("asinh", "Inverse hyperbolic sine.", "asinh(0)", "0.0", math.Asinh),
		real("acosh", "Inverse hyperbolic cosine.", "acosh(1)", "0.0", math.Acosh), real("atanh", "Inverse hyperbolic tangent.", "atanh(0)", "0.0", math.Atanh),
		real("cot", "Cotangent.", "cot(1)", "0.6420926159343308", func(x float64) float64 { return 1 / math.Tan(x) }),
		real("sec", "Secant.", "sec(0)", "1.0", func(x float64) float64 { return 1 / math.Cos(x) }),
		real("csc", "Cosecant.", "csc(1)", "1.1883951057781212", func(x float64) float64 { return 1 / math.Sin(x) }),
		real("degrees", "Radians as degrees.", "degrees(3.141592653589793)", "180.0", func(x float64) float64 { return x * (180 / math.Pi) }),
		real("radians", "Degrees as radians.", "radians(180)", "3.141592653589793", func(x float64) float64 { return x / 180 * math.Pi }),
		fn("atan2", "The angle of the point (x, y), given as y, x.", "atan2(0, 1)", "0.0", sig("double, double -> double", p2(math.Atan2))).safe().tight(),
		fn("hypot", "The length of the vector (x, y).", "hypot(3, 4)", "5.0", sig("double, double -> double", p2(math.Hypot))).safe().tight(),
		fn("pi", "The number pi.", "pi()", "3.141592653589793", sig(" -> double", constant(func(*expr.KernelContext) any { return math.Pi }))).safe().tight(),
		fn("e", "The base of the natural logarithm.", "e()", "2.718281828459045", sig(" -> double", constant(func(*expr.KernelContext) any { return math.E }))).safe().tight(),
		special("pmod", "pmod(numeric, numeric) -> numeric", "The remainder that is not negative for a positive divisor.", "pmod(-7, 3)", "2", bindPmod),
		fn("factorial", "n! for n from 0 to 20, else NULL.", "factorial(5)", "120", sig("int -> bigint", k1(factorial))).safe(),
		fn("bin", "A whole number in binary digits.", "bin(13)", "1101", sig("bigint -> string", s1(func(dst []byte, v int64) ([]byte, error) {
			return strconv.AppendUint(dst, uint64(v), 2), nil
		}))).safe().tight(),
		fn("conv", "A number's digits converted from one base to another.", "conv('100', 2, 10)", "4", sig("string, int, int -> string", s3(conv))),
		fn("width_bucket", "The number of the bucket, of count equal ones between low and high, that a value falls into.",
			"width_bucket(5.3, 0.2, 10.6, 5)", "3", sig("double, double, double, bigint -> bigint", k4(widthBucket)),
			sig("months, months, months, bigint -> bigint", k4(func(x, lo, hi int32, n int64) (int64, error) {
				return widthBucket(float64(x), float64(lo), float64(hi), n)
			})),
			sig("duration, duration, duration, bigint -> bigint", k4(func(x, lo, hi, n int64) (int64, error) { return widthBucket(float64(x), float64(lo), float64(hi), n) }))),
		fn("gcd", "The greatest common divisor.", "gcd(12, 18)", "6", sig("bigint, bigint -> bigint", p2(gcd))).safe().tight(),
	}
	return append(es, randoms()...)
}

// passOn returns its argument.
func passOn(_ *expr.KernelContext, args []expr.Vec, _ int) (arrow.Array, error) {
	args[0].Arr.Retain()
	return args[0].Arr, nil
}

// power is NaN for a NaN that is an exponent or a base, and for one to an infinite
// power, as in Java; C has 1 there.
func power(x, y float64) float64 {
	if x == 1 && math.IsNaN(y) || (x == 1 || x == -1) && math.IsInf(y, 0) {
		return math.NaN()
	}
	return math.Pow(x, y)
}

func absKernels() numericKernels {
	return numericKernels{
		i8: absInt[int8](expr.TypeInt8), i16: absInt[int16](expr.TypeInt16), i32: absInt[int32](expr.TypeInt32), i64: absInt[int64](expr.TypeInt64),
		f32: p1(func(a float32) float32 { return float32(math.Abs(float64(a))) }), f64: p1(math.Abs),
		dec: func(dec.Type) expr.Kernel { return p1(func(a dec.Num) dec.Num { return a.Abs() }) },
	}
}

func absInt[T integer](dt arrow.DataType) expr.Kernel {
	over := errOverflow(dt)
	return k1(func(a T) (T, error) {
		if a < 0 {
			if a = -a; a < 0 {
				return 0, over
			}
		}
		return a, nil
	})
}

// wholeSigs is ceil or floor: of a decimal a decimal without fraction, else BIGINT.
func wholeSigs(f func(float64) float64, d func(dec.Num, int32) dec.Num) []Sig {
	return []Sig{
		sig("bigint -> bigint", expr.Kernel(passOn)),
		sigR("decimal", func(t *Types) (arrow.DataType, error) {
			x, _ := dec.Of(t.Args[0])
			return dec.Bounded(x.P-x.S+1, 0).Arrow(), nil
		}, func(t *Types) expr.Kernel {
			x, _ := dec.Of(t.Args[0])
			return p1(func(a dec.Num) dec.Num { return d(a, x.S) })
		}),
		wholeScaled(d),
		sig("double -> bigint", k1(func(x float64) (int64, error) {
			r := f(x)
			if !(r >= -(1<<63) && r < 1<<63) {
				return 0, errOverflow(expr.TypeInt64)
			}
			return int64(r), nil
		})),
	}
}

// wholeEntry is ceil or floor. With a number of digits, integers and floats count as decimals.
func wholeEntry(names, doc, ex, res string, sigs ...Sig) *Entry {
	e := fn(names, doc, ex, res, sigs...)
	e.bind = func(e *Entry, args []expr.Expr) (expr.Expr, error) {
		if len(args) == 2 {
			switch dt := args[0].Type(); {
			case isInt(dt):
				d, _ := dec.Of(dt)
				args[0] = coerce(args[0], d.Arrow())
			case isFloat(dt):
				args[0] = coerce(args[0], expr.Decimal(30, 15))
			}
		}
		return e.resolve(args)
	}
	return e
}

// wholeScaled is ceil or floor to a number of digits, which is always decimal.
func wholeScaled(d func(dec.Num, int32) dec.Num) Sig {
	return sigR("decimal, int", func(t *Types) (arrow.DataType, error) {
		x, _ := dec.Of(t.Args[0])
		l, ok := t.args[1].(*expr.Literal)
		if !ok || l.Value == nil {
			return nil, batch.UserErrorf("the number of digits must be a constant")
		}
		s := int32(max(min(l.Value.(int64), 38), -38))
		whole := x.P - x.S + 1
		if s < 0 {
			return dec.Bounded(max(whole, -s+1), 0).Arrow(), nil
		}
		return dec.Bounded(whole+min(s, x.S), min(s, x.S)).Arrow(), nil
	}, func(t *Types) expr.Kernel {
		x, _ := dec.Of(t.Args[0])
		r, _ := dec.Of(t.Result)
		return k2(func(a dec.Num, digits int32) (dec.Num, error) {
			drop := x.S - max(min(digits, 38), -38)
			if drop <= 0 {
				return a, nil
			}
			if drop > 38 {
				drop = 38
			}
			v := d(a, drop)
			if digits < 0 {
				var ok bool
				if v, ok = dec.Rescale(v, 0, -digits, dec.MaxPrecision); !ok {
					return v, errOverflow(t.Result)
				}
			}
			if !dec.Fits(v, r.P) {
				return v, errOverflow(t.Result)
			}
			return v, nil
		})
	})
}

// roundSig is round or bround. The digits must be constant where the type of a
// decimal result depends on them.
func roundSig(even bool) Sig {
	return sigR("numeric, int = 0", func(t *Types) (arrow.DataType, error) {
		x, ok := t.Args[0].(*arrow.Decimal128Type)
		if !ok {
			return t.Args[0], nil
		}
		l, is := t.args[1].(*expr.Literal)
		if !is || l.Value == nil {
			return nil, batch.UserErrorf("the number of digits must be a constant for a decimal")
		}
		d := int32(l.Value.(int64))
		whole := x.Precision - x.Scale + 1
		if d < 0 {
			return dec.Bounded(max(whole, -d+1), 0).Arrow(), nil
		}
		return dec.Bounded(whole+min(d, x.Scale), min(d, x.Scale)).Arrow(), nil
	}, func(t *Types) expr.Kernel {
		return byNumber(numericKernels{
			i8: roundInt[int8](even), i16: roundInt[int16](even), i32: roundInt[int32](even), i64: roundInt[int64](even),
			f32: p2(func(x float32, d int32) float32 { return float32(roundFloat(float64(x), d, even)) }),
			f64: p2(func(x float64, d int32) float64 { return roundFloat(x, d, even) }),
			dec: func(x dec.Type) expr.Kernel {
				r, _ := dec.Of(t.Result)
				return k2(func(a dec.Num, d int32) (dec.Num, error) {
					v, ok := dec.Round(a, x.S, d, even)
					if !ok || !dec.Fits(v, r.P) {
						return v, errOverflow(t.Result)
					}
					return v, nil
				})
			},
		})(t)
	})
}

func roundInt[T integer](even bool) expr.Kernel {
	return k2(func(a T, d int32) (T, error) {
		if d >= 0 {
			return a, nil
		}
		v, ok := dec.Round(dec.FromI64(int64(a)), 0, d, even)
		n, in := dec.Int(v, 0)
		if r := T(n); ok && in && int64(r) == n {
			return r, nil
		}
		return 0, batch.UserErrorf("[ARITHMETIC_OVERFLOW] the rounded number does not fit")
	})
}

// roundFloat rounds the number's shortest decimal text, so that round(2.675, 2) is 2.68.
func roundFloat(x float64, d int32, even bool) float64 {
	if x != x || math.IsInf(x, 0) || x == 0 || d > 300 {
		return x
	}
	var tmp [400]byte
	s := strconv.AppendFloat(tmp[:0], x, 'f', -1, 64)
	point := strings.IndexByte(string(s), '.')
	if point < 0 && d >= 0 || point >= 0 && int32(len(s)-point-1) <= d {
		return x
	}
	scale := math.Pow(10, float64(d))
	v := x * scale
	if math.IsInf(v, 0) {
		return x
	}
	whole, frac := math.Modf(v)
	// The product may lie beside the half that the text names.
	if r, ok := exactHalf(s, d); ok {
		switch {
		case r > 0 || r == 0 && (!even || math.Mod(whole, 2) != 0):
			whole += math.Copysign(1, x)
		}
	} else if math.Abs(frac) >= 0.5 {
		whole += math.Copysign(1, x)
	}
	out, err := strconv.ParseFloat(strconv.FormatFloat(whole, 'f', 0, 64)+"e"+strconv.Itoa(int(-d)), 64)
	if err != nil {
		return whole / scale
	}
	return out
}

// exactHalf compares the digits dropped with a half: -1, 0 or 1.
func exactHalf(s []byte, d int32) (int, bool) {
	digits := strings.TrimPrefix(string(s), "-")
	whole, frac, _ := strings.Cut(digits, ".")
	if d < 0 {
		if int(-d) > len(whole) {
			return -1, true
		}
		frac = whole[len(whole)+int(d):] + frac
	} else {
		frac = frac[d:]
	}
	frac = strings.TrimRight(frac, "0")
	switch {
	case frac == "" || frac[0] < '5':
		return -1, true
	case frac == "5":
		return 0, true
	}
	return 1, true
}

func logOf(base, x float64) (float64, error) {
	if x <= 0 || base <= 0 {
		return 0, vec.ErrNull
	}
	switch base {
	case math.E:
		return math.Log(x), nil
	case 2:
		return math.Log2(x), nil
	case 10:
		return math.Log10(x), nil
	}
	return math.Log(x) / math.Log(base), nil
}

// bindPmod is ((a % b) + b) % b.
func bindPmod(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) != 2 {
		return nil, e.mismatch(args)
	}
	m, err := Scalar("%", args)
	if err != nil {
		return nil, err
	}
	neg, err := Scalar("<", []expr.Expr{m, &expr.Literal{Value: int64(0), DT: expr.TypeInt32}})
	if err != nil {
		return nil, err
	}
	sum, err := Scalar("+", []expr.Expr{m, args[1]})
	if err != nil {
		return nil, err
	}
	again, err := Scalar("%", []expr.Expr{sum, args[1]})
	if err != nil {
		return nil, err
	}
	return NewCase([]expr.When{{Cond: neg, Then: again}}, m)
}

func factorial(n int32) (int64, error) {
	if n < 0 || n > 20 {
		return 0, vec.ErrNull
	}
	r := int64(1)
	for i := int64(2); i <= int64(n); i++ {
		r *= i
	}
	return r, nil
}

func conv(dst []byte, s string, from, to int32) ([]byte, error) {
	s = strings.TrimSpace(s)
	base := to
	if base < 0 {
		base = -base
	}
	if s == "" || from < 2 || from > 36 || base < 2 || base > 36 {
		return nil, vec.ErrNull
	}
	neg := s[0] == '-'
	s = strings.TrimPrefix(s, "-")
	end := 0
	for end < len(s) && digitOf(s[end]) < int(from) {
		end++
	}
	v, err := strconv.ParseUint("0"+s[:end], int(from), 64)
	if err != nil {
		v = math.MaxUint64
	}
	if neg {
		v = -v
	}
	if to < 0 && int64(v) < 0 {
		dst = append(dst, '-')
		v = -v
	}
	return append(dst, strings.ToUpper(strconv.FormatUint(v, int(base)))...), nil
}

func digitOf(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'z':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'Z':
		return int(c-'A') + 10
	}
	return 99
}

func widthBucket(x, lo, hi float64, n int64) (int64, error) {
	if n <= 0 || n == math.MaxInt64 || lo == hi || math.IsNaN(x) || math.IsNaN(lo) || math.IsNaN(hi) || math.IsInf(lo, 0) || math.IsInf(hi, 0) {
		return 0, vec.ErrNull
	}
	if lo > hi {
		x, lo, hi = -x, -lo, -hi
	}
	switch {
	case x < lo:
		return 0, nil
	case x >= hi:
		return n + 1, nil
	}
	return int64(float64(n)*(x-lo)/(hi-lo)) + 1, nil
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	if a < 0 {
		return -a
	}
	return a
}

func bitwise() []*Entry {
	return []*Entry{
		bitOp("&|bitand", "&", "Bitwise AND.", "12 & 10", "8", "and"),
		bitOp("|", "|", "Bitwise OR.", "12 | 3", "15", "or"),
		bitOp("^|bitxor", "^", "Bitwise XOR.", "12 ^ 10", "6", "xor"),
		fn("~|bitnot", "Bitwise NOT.", "~5", "-6", sigR("integral", sameAs(0), byNumber(numericKernels{
			i8: p1(func(a int8) int8 { return ^a }), i16: p1(func(a int16) int16 { return ^a }),
			i32: p1(func(a int32) int32 { return ^a }), i64: p1(func(a int64) int64 { return ^a }),
		}))).safe().tight(),
		fn("shiftleft|<<", "Shifts bits to the left.", "1 << 4", "16",
			sig("int, int -> int", p2(func(a, n int32) int32 { return a << (uint(n) & 31) })),
			sig("bigint, int -> bigint", p2(func(a int64, n int32) int64 { return a << (uint(n) & 63) }))).safe().tight(),
		fn("shiftright|>>", "Shifts bits to the right, keeping the sign.", "-16 >> 2", "-4",
			sig("int, int -> int", p2(func(a, n int32) int32 { return a >> (uint(n) & 31) })),
			sig("bigint, int -> bigint", p2(func(a int64, n int32) int64 { return a >> (uint(n) & 63) }))).safe().tight(),
		fn("shiftrightunsigned|>>>", "Shifts bits to the right, filling with zeros.", "-1 >>> 28", "15",
			sig("int, int -> int", p2(func(a, n int32) int32 { return int32(uint32(a) >> (uint(n) & 31)) })),
			sig("bigint, int -> bigint", p2(func(a int64, n int32) int64 { return int64(uint64(a) >> (uint(n) & 63)) }))).safe().tight(),
		fn("bit_count", "How many bits are set.", "bit_count(7)", "3",
			sig("bigint -> int", p1(func(a int64) int32 { return int32(bits.OnesCount64(uint64(a))) })),
			sig("boolean -> int", p1(func(a bool) int32 { return int32(b2u(a)) }))).safe().tight(),
		fn("bit_get|getbit", "The bit at a position, 0 being the lowest.", "bit_get(11, 1)", "1",
			sig("bigint, int -> tinyint", k2(func(a int64, n int32) (int8, error) {
				if n < 0 || n > 63 {
					return 0, batch.UserErrorf("bit %d is not within 0..63", n)
				}
				return int8(a >> n & 1), nil
			}))),
	}
}

func bitOp(names, infix, doc, ex, res, kind string) *Entry {
	if names == "|" {
		e := fn("bitor", doc, ex, res, bitSig(kind))
		e.Names = []string{"|", "bitor"}
		return e.op(infix).safe().tight()
	}
	return fn(names, doc, ex, res, bitSig(kind)).op(infix).safe().tight()
}

func bitSig(kind string) Sig {
	common := func(t *Types) (arrow.DataType, error) { return t.Args[0], nil }
	s := sigR("T, T", common, func(t *Types) (expr.Kernel, error) {
		if !isInt(t.Args[0]) {
			return nil, batch.UserErrorf("needs whole numbers, not %s", expr.TypeName(t.Args[0]))
		}
		return byNumber(numericKernels{i8: bitKernel[int8](kind), i16: bitKernel[int16](kind), i32: bitKernel[int32](kind), i64: bitKernel[int64](kind)})(t), nil
	})
	return s
}

func bitKernel[T integer](kind string) expr.Kernel {
	switch kind {
	case "and":
		return p2(func(a, b T) T { return a & b })
	case "or":
		return p2(func(a, b T) T { return a | b })
	}
	return p2(func(a, b T) T { return a ^ b })
}
