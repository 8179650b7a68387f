package functions

import (
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/dec"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

type integer interface{ int8 | int16 | int32 | int64 }
type floating interface{ float32 | float64 }

func errOverflow(dt arrow.DataType) error {
	return batch.UserErrorf("[ARITHMETIC_OVERFLOW] the result does not fit %s; use the try_ function for NULL instead", expr.TypeName(dt))
}

var errDivide = batch.UserErrorf("[DIVIDE_BY_ZERO] division by zero; use try_divide for NULL instead")

// arithKernel returns the loop for an operator over two columns of one type.
func arithKernel(sym string, dt arrow.DataType, try bool) expr.Kernel {
	switch dt.ID() {
	case arrow.INT8:
		return intArith[int8](sym, dt, try)
	case arrow.INT16:
		return intArith[int16](sym, dt, try)
	case arrow.INT32:
		return intArith[int32](sym, dt, try)
	case arrow.INT64:
		return intArith[int64](sym, dt, try)
	case arrow.FLOAT32:
		return floatArith[float32](sym, try)
	default:
		return floatArith[float64](sym, try)
	}
}

// bulk runs loops that note failures in one flag; only when one failed are the
// rows gone through again, to leave out those under a NULL.
func bulk[T integer | floating](loop func(out, a, b []T, ca, cb bool) bool, one func(a, b T) error, try bool) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		n = vec.Rows(args, n)
		m := vec.StrictMask(kc.Alloc, args, n)
		if m.AllNull() {
			m.Release()
			return vec.NullArray(kc.Alloc, kc.Result, n), nil
		}
		buf, out := vec.NewFixed[T](kc.Alloc, n)
		a, b := vec.Values[T](args[0].Arr), vec.Values[T](args[1].Arr)
		if bad := loop(out, a, b, args[0].Const, args[1].Const); bad {
			for i := range out {
				if m.IsNull(i) {
					continue
				}
				if err := one(pick(a, i, args[0].Const), pick(b, i, args[1].Const)); err != nil {
					if !try {
						buf.Release()
						m.Release()
						return nil, err
					}
					m.SetNull(i)
				}
			}
		}
		return m.Array(kc.Result, buf), nil
	}
}

func pick[T any](s []T, i int, constant bool) T {
	if constant {
		return s[0]
	}
	return s[i]
}

func intArith[T integer](sym string, dt arrow.DataType, try bool) expr.Kernel {
	over := errOverflow(dt)
	switch sym {
	case "+":
		return bulk(addInts[T], func(a, b T) error {
			if s := a + b; (s^a)&(s^b) < 0 {
				return over
			}
			return nil
		}, try)
	case "-":
		return bulk(subInts[T], func(a, b T) error {
			if s := a - b; (s^a)&(a^b) < 0 {
				return over
			}
			return nil
		}, try)
	case "*":
		return bulk(mulInts[T], func(a, b T) error {
			if mulOverflows(a, b) {
				return over
			}
			return nil
		}, try)
	}
	rem := sym == "%"
	return bulk(func(out, a, b []T, ca, cb bool) bool { return divInts(out, a, b, ca, cb, rem) }, func(a, b T) error {
		switch {
		case b == 0:
			return errDivide
		case b == -1 && a == -a && a != 0 && !rem:
			return over
		}
		return nil
	}, try)
}

func addInts[T integer](out, a, b []T, ca, cb bool) bool {
	var f T
	switch {
	case cb:
		y := b[0]
		for i, x := range rowsOf(a, len(out), ca) {
			s := x + y
			f |= (s ^ x) & (s ^ y)
			out[i] = s
		}
	case ca:
		return addInts(out, b, a, false, true)
	default:
		a, b = a[:len(out)], b[:len(out)]
		for i, x := range a {
			y := b[i]
			s := x + y
			f |= (s ^ x) & (s ^ y)
			out[i] = s
		}
	}
	return f < 0
}

// rowsOf returns the rows to loop over: of two constants there is one row.
func rowsOf[T any](a []T, n int, constant bool) []T {
	if constant {
		return a[:1]
	}
	return a[:n]
}

func subInts[T integer](out, a, b []T, ca, cb bool) bool {
	var f T
	for i := range out {
		x, y := pick(a, i, ca), pick(b, i, cb)
		s := x - y
		f |= (s ^ x) & (x ^ y)
		out[i] = s
	}
	return f < 0
}

func mulInts[T integer](out, a, b []T, ca, cb bool) bool {
	// Factors of half the width cannot overflow: their product's check is left out.
	half := T(1) << (sizeBits[T]()/2 - 1)
	var f T
	for i := range out {
		x, y := pick(a, i, ca), pick(b, i, cb)
		f |= (x + half) | (y + half)
		out[i] = x * y
	}
	return f&^(half<<1-1) != 0
}

func sizeBits[T integer]() int {
	switch any(T(0)).(type) {
	case int8:
		return 8
	case int16:
		return 16
	case int32:
		return 32
	}
	return 64
}

func mulOverflows[T integer](a, b T) bool {
	if a == 0 || b == 0 {
		return false
	}
	p := a * b
	return p/b != a || a == -1 && b == -b || b == -1 && a == -a
}

func divInts[T integer](out, a, b []T, ca, cb, rem bool) bool {
	bad := false
	for i := range out {
		x, y := pick(a, i, ca), pick(b, i, cb)
		switch {
		case y == 0:
			bad = true
			out[i] = 0
		case rem:
			out[i] = x % y
		default:
			if y == -1 && x == -x && x != 0 {
				bad = true
			}
			out[i] = x / y
		}
	}
	return bad
}

func floatArith[T floating](sym string, try bool) expr.Kernel {
	never := func(a, b T) error { return nil }
	zero := func(a, b T) error {
		if b == 0 {
			return errDivide
		}
		return nil
	}
	switch sym {
	case "+":
		return bulk(func(out, a, b []T, ca, cb bool) bool {
			for i := range out {
				out[i] = pick(a, i, ca) + pick(b, i, cb)
			}
			return false
		}, never, try)
	case "-":
		return bulk(func(out, a, b []T, ca, cb bool) bool {
			for i := range out {
				out[i] = pick(a, i, ca) - pick(b, i, cb)
			}
			return false
		}, never, try)
	case "*":
		return bulk(func(out, a, b []T, ca, cb bool) bool {
			for i := range out {
				out[i] = pick(a, i, ca) * pick(b, i, cb)
			}
			return false
		}, never, try)
	case "/":
		return bulk(func(out, a, b []T, ca, cb bool) bool {
			bad := false
			for i := range out {
				y := pick(b, i, cb)
				bad = bad || y == 0
				out[i] = pick(a, i, ca) / y
			}
			return bad
		}, zero, try)
	}
	return bulk(func(out, a, b []T, ca, cb bool) bool {
		bad := false
		for i := range out {
			y := pick(b, i, cb)
			bad = bad || y == 0
			out[i] = T(math.Mod(float64(pick(a, i, ca)), float64(y)))
		}
		return bad
	}, zero, try)
}

// decimalKernel computes on unscaled values; lt, rt and res give the scales.
func decimalKernel(sym string, lt, rt, res dec.Type, try bool) expr.Kernel {
	over := batch.UserErrorf("[NUMERIC_VALUE_OUT_OF_RANGE] the result does not fit %s", expr.TypeName(res.Arrow()))
	if try {
		over = vec.ErrNull
	}
	zero := errDivide
	if try {
		zero = vec.ErrNull
	}
	if sym == "*" && lt.S+rt.S == res.S || (sym == "+" || sym == "-") && lt.S == rt.S && lt.S == res.S {
		return decimalLoop(sym, lt, rt, res, over)
	}
	check := func(v dec.Num, fits bool) (dec.Num, error) {
		if !fits {
			return v, over
		}
		return v, nil
	}
	var f vec.F2[dec.Num, dec.Num, dec.Num]
	switch sym {
	case "+":
		f = func(a, b dec.Num) (dec.Num, error) { return check(dec.AddScaled(a, b, lt, rt, res, false)) }
	case "-":
		f = func(a, b dec.Num) (dec.Num, error) { return check(dec.AddScaled(a, b, lt, rt, res, true)) }
	case "*":
		f = func(a, b dec.Num) (dec.Num, error) { return check(dec.MulScaled(a, b, lt, rt, res)) }
	default:
		div := sym == "/"
		f = func(a, b dec.Num) (dec.Num, error) {
			switch {
			case b == decimal128.Num{}:
				return b, zero
			case div:
				return check(dec.DivScaled(a, b, lt, rt, res))
			}
			return check(dec.ModScaled(a, b, lt, rt, res))
		}
	}
	return k2(f)
}

func decimalQuo(lt, rt dec.Type) expr.Kernel {
	return k2(func(a, b dec.Num) (int64, error) {
		if b == (decimal128.Num{}) {
			return 0, errDivide
		}
		v, fits := dec.QuoInt(a, b, lt, rt)
		if !fits {
			return 0, errOverflow(expr.TypeInt64)
		}
		return v, nil
	})
}

func negateKernel(dt arrow.DataType) expr.Kernel {
	switch dt.ID() {
	case arrow.INT8:
		return negInt[int8](dt)
	case arrow.INT16:
		return negInt[int16](dt)
	case arrow.INT32, arrow.INTERVAL_MONTHS:
		return negInt[int32](dt)
	case arrow.INT64, arrow.DURATION:
		return negInt[int64](dt)
	case arrow.FLOAT32:
		return k1(func(a float32) (float32, error) { return -a, nil })
	case arrow.FLOAT64:
		return k1(func(a float64) (float64, error) { return -a, nil })
	default:
		return k1(func(a dec.Num) (dec.Num, error) { return a.Negate(), nil })
	}
}

func negInt[T integer](dt arrow.DataType) expr.Kernel {
	over := errOverflow(dt)
	return k1(func(a T) (T, error) {
		if a == -a && a != 0 {
			return 0, over
		}
		return -a, nil
	})
}

// decimalLoop is decimalKernel without a call per row, for operands whose
// scales already give the result's.
func decimalLoop(sym string, lt, rt, res dec.Type, over error) expr.Kernel {
	op := map[string]dec.Op{"+": dec.OpAdd, "-": dec.OpSub, "*": dec.OpMul}[sym]
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		n = vec.Rows(args, n)
		m := vec.StrictMask(kc.Alloc, args, n)
		if m.AllNull() {
			m.Release()
			return vec.NullArray(kc.Alloc, kc.Result, n), nil
		}
		a, b := vec.Load[dec.Num](args[0]), vec.Load[dec.Num](args[1])
		buf, out := vec.NewFixed[dec.Num](kc.Alloc, n)
		for _, i := range dec.Loop(op, out, a.Vals, b.Vals, a.Mask, b.Mask, lt, rt, res) {
			if m.IsNull(int(i)) {
				continue
			}
			if over != vec.ErrNull {
				buf.Release()
				m.Release()
				return nil, over
			}
			m.SetNull(int(i))
		}
		return m.Array(kc.Result, buf), nil
	}
}
