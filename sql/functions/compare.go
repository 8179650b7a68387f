package functions

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/cast"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

func comparisons() []*Entry {
	list := []struct{ names, infix, doc, ex, res string }{
		{"=|==", "=", "Whether two values are equal; NULL if one is.", "1 = 1.0", "true"},
		{"<>|!=", "<>", "Whether two values differ.", "'a' <> 'b'", "true"},
		{"<", "<", "Less than; NaN is greater than any other number, strings compare by bytes.", "1 < 2", "true"},
		{"<=", "<=", "Less than or equal.", "2 <= 2", "true"},
		{">", ">", "Greater than.", "DATE'2024-01-02' > '2024-01-01'", "true"},
		{">=", ">=", "Greater than or equal.", "1 >= 2", "false"},
		{"<=>", "<=>", "Equal, with NULL equal to NULL; never NULL itself.", "NULL <=> NULL", "true"},
	}
	var es []*Entry
	for _, c := range list {
		e := special(c.names, "(T, T) -> boolean", c.doc, c.ex, c.res, bindCompare).op(c.infix).safe().tight()
		if c.infix == "<=>" {
			e.lax()
		}
		es = append(es, e)
	}
	return append(es, special("equal_null", "equal_null(T, T) -> boolean", "The same as <=>.", "equal_null(3, NULL)", "false",
		func(_ *Entry, args []expr.Expr) (expr.Expr, error) { return Scalar("<=>", args) }))
}

func bindCompare(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) != 2 {
		return nil, e.mismatch(args)
	}
	l, r := narrowLiteral(args[0], args[1])
	r, l = narrowLiteral(r, l)
	lt, rt := l.Type(), r.Type()
	if (isDecimal(lt) || isDecimal(rt)) && (isDecimal(lt) || isInt(lt)) && (isDecimal(rt) || isInt(rt)) {
		a, _ := decimalOf(l)
		b, _ := decimalOf(r)
		return e.newCall(compareDecimals(e.Infix, a.S, b.S), []expr.Expr{coerce(l, a.Arrow()), coerce(r, b.Arrow())}, expr.TypeBool), nil
	}
	ct, ok := CommonType(lt, rt)
	if !ok || ct.ID() == arrow.MAP {
		return nil, e.mismatch(args)
	}
	return e.newCall(compareKernel(e.Infix, ct), []expr.Expr{coerce(l, ct), coerce(r, ct)}, expr.TypeBool), nil
}

// narrowLiteral gives an integer constant the type of the integer it is
// compared with where it fits, so that the column needs no cast.
func narrowLiteral(l, r expr.Expr) (expr.Expr, expr.Expr) {
	lit, ok := r.(*expr.Literal)
	if !ok || !isInt(lit.DT) || !isInt(l.Type()) || rank(l.Type()) >= rank(lit.DT) {
		return l, r
	}
	if c, fits := cast.Literal(&expr.KernelContext{Alloc: memory.DefaultAllocator}, lit, l.Type()); fits {
		return l, c
	}
	return l, r
}

// compareKernel returns the kernel of an operator over two columns of one type.
func compareKernel(op string, dt arrow.DataType) expr.Kernel {
	var k expr.Kernel
	base := op
	if op == "<=>" {
		base = "="
	}
	switch dt.ID() {
	case arrow.INT8:
		k = orderedKernel[int8](base)
	case arrow.INT16:
		k = orderedKernel[int16](base)
	case arrow.INT32, arrow.DATE32, arrow.INTERVAL_MONTHS:
		k = orderedKernel[int32](base)
	case arrow.INT64, arrow.TIMESTAMP, arrow.DURATION, arrow.TIME64:
		k = orderedKernel[int64](base)
	case arrow.FLOAT32:
		k = floatKernel[float32](base)
	case arrow.FLOAT64:
		k = floatKernel[float64](base)
	case arrow.STRING, arrow.BINARY:
		k = stringKernel(base)
	default:
		k = anyKernel(base)
	}
	if op == "<=>" {
		return nullSafe(k)
	}
	return k
}

// words builds a strict boolean result 64 rows at a time: word gives the bits
// of rows [i, i+n).
func words(kc *expr.KernelContext, args []expr.Vec, n int, word func(i, n int) uint64) (arrow.Array, error) {
	n = vec.Rows(args, n)
	m := vec.StrictMask(kc.Alloc, args, n)
	if m.AllNull() {
		m.Release()
		return vec.NullArray(kc.Alloc, kc.Result, n), nil
	}
	buf := vec.NewBits(kc.Alloc, n)
	out := vec.Words(buf, n)
	for w := range out {
		out[w] = word(w*64, min(64, n-w*64))
	}
	return m.Array(kc.Result, buf), nil
}

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

type ordered interface {
	int8 | int16 | int32 | int64 | float32 | float64 | string
}

func orderedKernel[T integer](op string) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		a, b := vec.Values[T](args[0].Arr), vec.Values[T](args[1].Arr)
		switch {
		case args[1].Const && len(b) == 1:
			return words(kc, args, n, func(i, n int) uint64 { return compareConst(op, a[i:i+n], b[0]) })
		case args[0].Const && len(a) == 1:
			return words(kc, args, n, func(i, n int) uint64 { return compareConst(expr.Flipped(op), b[i:i+n], a[0]) })
		}
		return words(kc, args, n, func(i, n int) uint64 { return compareCols(op, a[i:i+n], b[i:i+n]) })
	}
}

func compareConst[T ordered](op string, a []T, c T) (w uint64) {
	switch op {
	case "=":
		for j, x := range a {
			w |= b2u(x == c) << (j & 63)
		}
	case "<>":
		for j, x := range a {
			w |= b2u(x != c) << (j & 63)
		}
	case "<":
		for j, x := range a {
			w |= b2u(x < c) << (j & 63)
		}
	case "<=":
		for j, x := range a {
			w |= b2u(x <= c) << (j & 63)
		}
	case ">":
		for j, x := range a {
			w |= b2u(x > c) << (j & 63)
		}
	default:
		for j, x := range a {
			w |= b2u(x >= c) << (j & 63)
		}
	}
	return w
}

func compareCols[T ordered](op string, a, b []T) (w uint64) {
	b = b[:len(a)]
	switch op {
	case "=":
		for j, x := range a {
			w |= b2u(x == b[j]) << (j & 63)
		}
	case "<>":
		for j, x := range a {
			w |= b2u(x != b[j]) << (j & 63)
		}
	case "<":
		for j, x := range a {
			w |= b2u(x < b[j]) << (j & 63)
		}
	case "<=":
		for j, x := range a {
			w |= b2u(x <= b[j]) << (j & 63)
		}
	case ">":
		for j, x := range a {
			w |= b2u(x > b[j]) << (j & 63)
		}
	default:
		for j, x := range a {
			w |= b2u(x >= b[j]) << (j & 63)
		}
	}
	return w
}

// floatKernel follows SQL's order: NaN equals NaN and is greatest.
func floatKernel[T floating](op string) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		a, b := vec.Load[T](args[0]), vec.Load[T](args[1])
		if args[1].Const && len(b.Vals) == 1 && b.Vals[0] == b.Vals[0] && (op == "=" || op == "<" || op == "<=") {
			c := b.Vals[0] // a NaN on the left fails these three by itself
			return words(kc, args, n, func(i, n int) uint64 {
				if args[0].Const {
					return compareConst(op, a.Vals[:1], c)
				}
				return compareConst(op, a.Vals[i:i+n], c)
			})
		}
		test := expr.Outcome(op)
		return words(kc, args, n, func(i, n int) (w uint64) {
			for j := range n {
				w |= b2u(test(vec.CompareFloat(float64(a.At(i+j)), float64(b.At(i+j))))) << j
			}
			return w
		})
	}
}

// test turns the outcome of a three-way comparison into the operator's.
func stringKernel(op string) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		switch a, b := args[0], args[1]; {
		case areTexts(a, b) && b.Const && !a.Const:
			return textsAndOne(kc, args, n, op, vec.StringsOf(a.Arr), vec.StringsOf(b.Arr).Str(0))
		case areTexts(a, b) && a.Const && !b.Const:
			return textsAndOne(kc, args, n, expr.Flipped(op), vec.StringsOf(b.Arr), vec.StringsOf(a.Arr).Str(0))
		}
		a, b := vec.Load[string](args[0]), vec.Load[string](args[1])
		defer a.Release()
		defer b.Release()
		switch {
		case args[1].Const && !args[0].Const && len(b.Vals) == 1:
			return words(kc, args, n, func(i, n int) uint64 { return compareConst(op, a.Vals[i:i+n], b.Vals[0]) })
		case args[0].Const && len(a.Vals) == 1:
			return words(kc, args, n, func(i, n int) uint64 { return compareConst(expr.Flipped(op), b.Vals[i:i+n], a.Vals[0]) })
		}
		return words(kc, args, n, func(i, n int) uint64 { return compareCols(op, a.Vals[i:i+n], b.Vals[i:i+n]) })
	}
}

// areTexts reports whether both columns have values that lie behind each other.
func areTexts(args ...expr.Vec) bool {
	for _, a := range args {
		if id := a.Arr.DataType().ID(); id != arrow.STRING && id != arrow.BINARY || a.Arr.Len() == 0 || a.Arr.Data().Buffers()[1] == nil {
			return false
		}
	}
	return true
}

// textsAndOne compares a column with one text, where it lies: no list of its values is
// made, and of those of another length none is looked at for = and <>.
func textsAndOne(kc *expr.KernelContext, args []expr.Vec, n int, op string, s vec.Strings, c string) (arrow.Array, error) {
	equal := func(i, n int) (w uint64) {
		off := s.Off[i : i+n+1]
		for j := range n {
			from, to := off[j], off[j+1]
			if int(to-from) == len(c) {
				w |= b2u(string(s.Data[from:to]) == c) << (j & 63)
			}
		}
		return w
	}
	switch op {
	case "=":
		return words(kc, args, n, equal)
	case "<>":
		return words(kc, args, n, func(i, n int) uint64 { return ^equal(i, n) & (1<<n - 1) })
	}
	test := expr.Outcome(op)
	return words(kc, args, n, func(i, n int) (w uint64) {
		for j := range n {
			w |= b2u(test(strings.Compare(s.Str(i+j), c))) << (j & 63)
		}
		return w
	})
}

func compareDecimals(op string, as, bs int32) expr.Kernel {
	base := op
	if op == "<=>" {
		base = "="
	}
	k := func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		return decimalWords(kc, args, n, as, bs, base)
	}
	if op == "<=>" {
		return nullSafe(k)
	}
	return k
}

// anyKernel compares values of the remaining types one by one.
func anyKernel(op string) expr.Kernel {
	test := expr.Outcome(op)
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		a, b := args[0], args[1]
		return words(kc, args, n, func(i, n int) (w uint64) {
			for j := range n {
				w |= b2u(test(vec.Compare(a.Arr, row(a, i+j), b.Arr, row(b, i+j)))) << j
			}
			return w
		})
	}
}

func row(v expr.Vec, i int) int {
	if v.Const {
		return 0
	}
	return i
}

// nullSafe makes = into <=>.
func nullSafe(eq expr.Kernel) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		arr, err := eq(kc, args, n)
		if err != nil {
			return nil, err
		}
		defer arr.Release()
		n = arr.Len()
		bits, valid := vec.BoolBits(arr), vec.Validity(arr)
		buf := vec.NewBits(kc.Alloc, n)
		out := buf.Bytes()
		for i := range n {
			same := false
			if arr.NullN() == 0 || valid.Get(i) && arr.IsValid(i) {
				same = bits.Get(i)
			} else {
				same = vec.IsNull(args[0].Arr, row(args[0], i)) && vec.IsNull(args[1].Arr, row(args[1], i))
			}
			if same {
				out[i>>3] |= 1 << (i & 7)
			}
		}
		return vec.NewMask(kc.Alloc, n).Array(kc.Result, buf), nil
	}
}
