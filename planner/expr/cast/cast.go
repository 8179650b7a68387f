package cast

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// code says how a conversion of one value ended.
type code uint8

const (
	ok code = iota
	malformed
	overflow
)

// Kernel returns the conversion from one type to another, or an error if there
// is none. With try a value that cannot be converted becomes NULL.
func Kernel(from, to arrow.DataType, try bool) (expr.Kernel, error) {
	if arrow.TypeEqual(from, to) {
		return identity, nil
	}
	if c := Canonical(from); !arrow.TypeEqual(c, from) {
		return viaCanonical(from, c, to, try)
	}
	c := conv{from: from, to: to, try: try}
	var k expr.Kernel
	switch from.ID() {
	case arrow.NULL:
		k = nulls
	case arrow.STRING:
		k = c.fromString()
	case arrow.BINARY:
		k = c.fromBinary()
	case arrow.BOOL:
		k = c.fromBool()
	case arrow.INT8:
		k = fromInt[int8](c)
	case arrow.INT16:
		k = fromInt[int16](c)
	case arrow.INT32:
		k = fromInt[int32](c)
	case arrow.INT64:
		k = fromInt[int64](c)
	case arrow.FLOAT32:
		k = fromFloat[float32](c)
	case arrow.FLOAT64:
		k = fromFloat[float64](c)
	case arrow.DECIMAL128:
		k = c.fromDecimal()
	case arrow.DATE32:
		k = c.fromDate()
	case arrow.TIMESTAMP:
		k = c.fromStamp()
	case arrow.TIME64, arrow.DURATION, arrow.INTERVAL_MONTHS:
		k = c.fromSpan()
	case arrow.LIST, arrow.MAP, arrow.STRUCT:
		return c.fromNested()
	}
	if k == nil {
		return nil, noCast(from, to)
	}
	return k, nil
}

// Allowed reports whether there is a cast between two types.
func Allowed(from, to arrow.DataType) bool {
	_, err := Kernel(from, to, false)
	return err == nil
}

func noCast(from, to arrow.DataType) error {
	return batch.UserErrorf("[CAST_WITHOUT_MEANING] cannot cast %s to %s", expr.TypeName(from), expr.TypeName(to))
}

func identity(_ *expr.KernelContext, args []expr.Vec, _ int) (arrow.Array, error) {
	args[0].Arr.Retain()
	return args[0].Arr, nil
}

func nulls(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	return vec.NullArray(kc.Alloc, kc.Result, vec.Rows(args, n)), nil
}

// conv is one pair of types.
type conv struct {
	from, to arrow.DataType
	try      bool
}

// fail makes the error for a value, or ErrNull under TRY.
func (c conv) fail(why code, value any) error {
	if c.try {
		return vec.ErrNull
	}
	if why == overflow {
		return batch.UserErrorf("[CAST_OVERFLOW] the value %v of type %s does not fit %s; use TRY_CAST for NULL instead",
			value, expr.TypeName(c.from), expr.TypeName(c.to))
	}
	return batch.UserErrorf("[CAST_INVALID_INPUT] the value '%v' of type %s cannot be cast to %s; use TRY_CAST for NULL instead",
		value, expr.TypeName(c.from), expr.TypeName(c.to))
}

// rows makes a kernel of a conversion of one value. show prints a value for an error.
func rows[A, R vec.Value](c conv, show func(A) string, f func(kc *expr.KernelContext) (func(A) (R, code), error)) expr.Kernel {
	return vec.Map1(func(kc *expr.KernelContext) (vec.F1[A, R], error) {
		g, err := f(kc)
		if err != nil {
			return nil, err
		}
		return func(a A) (R, error) {
			r, why := g(a)
			if why != ok {
				if c.try {
					return r, vec.ErrNull
				}
				return r, c.fail(why, show(a))
			}
			return r, nil
		}, nil
	})
}

// plain is rows for a conversion that needs nothing of the batch.
func plain[A, R vec.Value](c conv, show func(A) string, f func(A) (R, code)) expr.Kernel {
	return rows(c, show, func(*expr.KernelContext) (func(A) (R, code), error) { return f, nil })
}

// text makes a kernel that writes values as strings.
func text[A vec.Value](f func(kc *expr.KernelContext) (func(dst []byte, a A) []byte, error)) expr.Kernel {
	return vec.Str1(func(kc *expr.KernelContext) (vec.S1[A], error) {
		g, err := f(kc)
		if err != nil {
			return nil, err
		}
		return func(dst []byte, a A) ([]byte, error) { return g(dst, a), nil }, nil
	})
}

// plainText is text for a conversion that needs nothing of the batch.
func plainText[A vec.Value](f func(dst []byte, a A) []byte) expr.Kernel {
	return text(func(*expr.KernelContext) (func(dst []byte, a A) []byte, error) { return f, nil })
}

// then joins two kernels; mid is the type in between.
func then(mid arrow.DataType, first, second expr.Kernel) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		a := *kc
		a.Result = mid
		arr, err := first(&a, args, n)
		if err != nil {
			return nil, err
		}
		defer arr.Release()
		return second(kc, []expr.Vec{{Arr: arr, Const: args[0].Const}}, n)
	}
}

// Array converts one array outside of an expression.
func Array(kc *expr.KernelContext, arr arrow.Array, to arrow.DataType, try bool) (arrow.Array, error) {
	k, err := Kernel(arr.DataType(), to, try)
	if err != nil {
		return nil, err
	}
	c := *kc
	c.Result = to
	return k(&c, []expr.Vec{{Arr: arr}}, arr.Len())
}

// Literal converts a constant, without an error if the value does not convert:
// ok is false then.
func Literal(kc *expr.KernelContext, l *expr.Literal, to arrow.DataType) (*expr.Literal, bool) {
	arr, err := l.Array(kc.Alloc)
	if err != nil {
		return nil, false
	}
	defer arr.Release()
	out, err := Array(kc, arr, to, false)
	if err != nil {
		return nil, false
	}
	defer out.Release()
	v, err := Value(out, 0)
	return &expr.Literal{Value: v, DT: to}, err == nil
}

// Value reads row i as a Literal holds it (invariant X3 of package expr).
func Value(arr arrow.Array, i int) (any, error) {
	if vec.IsNull(arr, i) {
		return nil, nil
	}
	switch a := arr.(type) {
	case *array.Boolean:
		return a.Value(i), nil
	case *array.String:
		return string(append([]byte(nil), a.Value(i)...)), nil
	case *array.Binary:
		return append([]byte(nil), a.Value(i)...), nil
	case *array.Float32:
		return float64(a.Value(i)), nil
	case *array.Float64:
		return a.Value(i), nil
	case *array.Decimal128:
		return a.Value(i), nil
	case *array.Int8:
		return int64(a.Value(i)), nil
	case *array.Int16:
		return int64(a.Value(i)), nil
	case *array.Int32, *array.Date32, *array.MonthInterval:
		return int64(vec.Values[int32](arr)[i]), nil
	case *array.Int64, *array.Timestamp, *array.Time64, *array.Duration:
		return vec.Values[int64](arr)[i], nil
	}
	return nil, fmt.Errorf("no literal of type %s", expr.TypeName(arr.DataType()))
}
