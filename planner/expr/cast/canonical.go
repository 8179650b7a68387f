package cast

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/dec"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// Canonical returns the type that values of dt are computed in: dt itself for
// the types of package expr, the next wider one for what else Arrow has.
func Canonical(dt arrow.DataType) arrow.DataType {
	switch t := dt.(type) {
	case *arrow.DictionaryType:
		return Canonical(t.ValueType)
	case *arrow.LargeStringType, *arrow.StringViewType:
		return expr.TypeString
	case *arrow.LargeBinaryType, *arrow.BinaryViewType, *arrow.FixedSizeBinaryType:
		return expr.TypeBinary
	case *arrow.Uint8Type:
		return expr.TypeInt16
	case *arrow.Uint16Type:
		return expr.TypeInt32
	case *arrow.Uint32Type:
		return expr.TypeInt64
	case *arrow.Uint64Type:
		return expr.Decimal(20, 0)
	case *arrow.Float16Type:
		return expr.TypeFloat
	case *arrow.Date64Type:
		return expr.TypeDate
	case *arrow.Decimal32Type:
		return expr.Decimal(t.Precision, t.Scale)
	case *arrow.Decimal64Type:
		return expr.Decimal(t.Precision, t.Scale)
	case *arrow.TimestampType:
		if t.TimeZone == "" {
			return expr.TypeLocalTime
		}
		return expr.TypeTimestamp
	case *arrow.DurationType:
		return expr.TypeDuration
	case *arrow.Time32Type, *arrow.Time64Type:
		return arrow.FixedWidthTypes.Time64us
	}
	return canonicalNested(dt)
}

func canonicalNested(dt arrow.DataType) arrow.DataType {
	switch t := dt.(type) {
	case *arrow.LargeListType:
		return arrow.ListOf(Canonical(t.Elem()))
	case *arrow.FixedSizeListType:
		return arrow.ListOf(Canonical(t.Elem()))
	case *arrow.ListType:
		if e := Canonical(t.Elem()); !arrow.TypeEqual(e, t.Elem()) {
			return arrow.ListOf(e)
		}
	case *arrow.MapType:
		k, v := Canonical(t.KeyType()), Canonical(t.ItemType())
		if !arrow.TypeEqual(k, t.KeyType()) || !arrow.TypeEqual(v, t.ItemType()) {
			return arrow.MapOf(k, v)
		}
	case *arrow.StructType:
		fields, changed := make([]arrow.Field, t.NumFields()), false
		for i, f := range t.Fields() {
			fields[i] = f
			fields[i].Type = Canonical(f.Type)
			changed = changed || !arrow.TypeEqual(fields[i].Type, f.Type)
		}
		if changed {
			return arrow.StructOf(fields...)
		}
	}
	return dt
}

// viaCanonical brings a foreign type to its canonical one, and on from there.
func viaCanonical(from, mid, to arrow.DataType, try bool) (expr.Kernel, error) {
	first, err := canonicalKernel(from, mid, try)
	if err != nil || arrow.TypeEqual(mid, to) {
		return first, err
	}
	second, err := Kernel(mid, to, try)
	if err != nil {
		return nil, err
	}
	return then(mid, first, second), nil
}

func canonicalKernel(from, to arrow.DataType, try bool) (expr.Kernel, error) {
	c := conv{from: from, to: to, try: try}
	switch t := from.(type) {
	case *arrow.DictionaryType:
		return dictKernel(t, to, try)
	case *arrow.Uint8Type:
		return widenUint[uint8, int16](), nil
	case *arrow.Uint16Type:
		return widenUint[uint16, int32](), nil
	case *arrow.Uint32Type:
		return widenUint[uint32, int64](), nil
	case *arrow.Uint64Type:
		return mapFixed(c, func(v uint64) (dec.Num, code) { return decimal128.FromU64(v), ok }), nil
	case *arrow.Decimal32Type:
		return mapFixed(c, func(v int32) (dec.Num, code) { return decimal128.FromI64(int64(v)), ok }), nil
	case *arrow.Decimal64Type:
		return mapFixed(c, func(v int64) (dec.Num, code) { return decimal128.FromI64(v), ok }), nil
	case *arrow.Date64Type:
		return mapFixed(c, func(v int64) (int32, code) { return int32(v / 86_400_000), ok }), nil
	case *arrow.TimestampType:
		return unitKernel(c, t.Unit), nil
	case *arrow.DurationType:
		return unitKernel(c, t.Unit), nil
	case *arrow.Time64Type:
		return unitKernel(c, t.Unit), nil
	case *arrow.Time32Type:
		return mapFixed(c, func(v int32) (int64, code) { return scaleUnit(int64(v), t.Unit) }), nil
	case *arrow.ListType, *arrow.MapType, *arrow.StructType:
		return c.fromNested()
	}
	return perValue(c)
}

func unitKernel(c conv, unit arrow.TimeUnit) expr.Kernel {
	if unit == arrow.Microsecond {
		return vec.Reinterpret
	}
	return mapFixed(c, func(v int64) (int64, code) { return scaleUnit(v, unit) })
}

// mapFixed converts value buffers of any width, also those that no SQL type has.
func mapFixed[A, R vec.Fixed](c conv, f func(A) (R, code)) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		n = vec.Rows(args, n)
		m := vec.StrictMask(kc.Alloc, args, n)
		buf, out := vec.NewFixed[R](kc.Alloc, n)
		for i, v := range vec.Values[A](args[0].Arr) {
			r, why := f(v)
			if why != ok && !m.IsNull(i) {
				if !c.try {
					buf.Release()
					m.Release()
					return nil, c.fail(why, args[0].Arr.ValueStr(i))
				}
				m.SetNull(i)
			}
			out[i] = r
		}
		return m.Array(kc.Result, buf), nil
	}
}

func widenUint[A uint8 | uint16 | uint32, R int16 | int32 | int64]() expr.Kernel {
	return mapFixed(conv{}, func(v A) (R, code) { return R(v), ok })
}

func dictKernel(t *arrow.DictionaryType, to arrow.DataType, try bool) (expr.Kernel, error) {
	inner, err := Kernel(t.ValueType, to, try)
	if err != nil {
		return nil, err
	}
	decode := func(kc *expr.KernelContext, args []expr.Vec, _ int) (arrow.Array, error) {
		if d, is := args[0].Arr.(*array.Dictionary); is {
			return vec.Decode(kc.Alloc, d)
		}
		args[0].Arr.Retain()
		return args[0].Arr, nil
	}
	return then(t.ValueType, decode, inner), nil
}

// perValue serves the rare layouts (views, large offsets, half floats) value by value.
func perValue(c conv) (expr.Kernel, error) {
	switch c.from.(type) {
	case *arrow.LargeStringType, *arrow.StringViewType, *arrow.LargeBinaryType, *arrow.BinaryViewType,
		*arrow.FixedSizeBinaryType:
		return bytesKernel, nil
	case *arrow.Float16Type:
		return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
			a := args[0].Arr.(*array.Float16)
			m := vec.StrictMask(kc.Alloc, args, a.Len())
			buf, out := vec.NewFixed[float32](kc.Alloc, a.Len())
			for i := range out {
				out[i] = a.Value(i).Float32()
			}
			return m.Array(kc.Result, buf), nil
		}, nil
	case *arrow.LargeListType, *arrow.FixedSizeListType:
		return c.listLike()
	}
	return nil, noCast(c.from, c.to)
}

func bytesKernel(kc *expr.KernelContext, args []expr.Vec, _ int) (arrow.Array, error) {
	arr := args[0].Arr
	n := arr.Len()
	m := vec.StrictMask(kc.Alloc, []expr.Vec{{Arr: arr}}, n)
	o := vec.NewStrOut(kc.Alloc, n)
	for i := range n {
		if m.IsNull(i) {
			o.Skip()
			continue
		}
		switch a := arr.(type) {
		case *array.LargeString:
			o.Append(a.Value(i))
		case *array.StringView:
			o.Append(a.Value(i))
		case *array.LargeBinary:
			o.End(append(o.Begin(), a.Value(i)...))
		case *array.BinaryView:
			o.End(append(o.Begin(), a.Value(i)...))
		case *array.FixedSizeBinary:
			o.End(append(o.Begin(), a.Value(i)...))
		}
	}
	return o.Array(kc.Result, m)
}
