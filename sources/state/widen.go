package state

import (
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
)

// Widens reports whether a type holds every value of another, so that old values mean
// in it what they did.
func Widens(from, to arrow.DataType) bool {
	a, b := intRank(from), intRank(to)
	switch {
	case a > 0 && b > 0:
		return a < b
	case from.ID() == arrow.FLOAT32 && to.ID() == arrow.FLOAT64:
		return true
	case a > 0 && a < 4 && to.ID() == arrow.FLOAT64:
		return true
	}
	if x, ok := from.(*arrow.Decimal128Type); ok {
		y, ok := to.(*arrow.Decimal128Type)
		return ok && y.Scale >= x.Scale && y.Precision-y.Scale >= x.Precision-x.Scale
	}
	if x, ok := from.(*arrow.TimestampType); ok {
		y, ok := to.(*arrow.TimestampType)
		return ok && x.TimeZone == y.TimeZone && y.Unit > x.Unit && y.Unit <= arrow.Microsecond
	}
	return false
}

// intRank orders the signed integers by what they hold; 0 is another type.
func intRank(t arrow.DataType) int {
	switch t.ID() {
	case arrow.INT8:
		return 1
	case arrow.INT16:
		return 2
	case arrow.INT32:
		return 3
	case arrow.INT64:
		return 4
	}
	return 0
}

func intAt(arr arrow.Array) func(int) int64 {
	switch a := arr.(type) {
	case *array.Int8:
		return func(i int) int64 { return int64(a.Value(i)) }
	case *array.Int16:
		return func(i int) int64 { return int64(a.Value(i)) }
	case *array.Int32:
		return func(i int) int64 { return int64(a.Value(i)) }
	case *array.Int64:
		return a.Value
	}
	return nil
}

// widen makes values of a type of those of one that holds less.
func widen(arr arrow.Array, to arrow.DataType) (arrow.Array, error) {
	if arrow.TypeEqual(arr.DataType(), to) {
		arr.Retain()
		return arr, nil
	}
	b := array.NewBuilder(memory.DefaultAllocator, to)
	defer b.Release()
	set := widener(arr, b)
	if set == nil {
		return nil, fmt.Errorf("%s does not hold all values of %s", expr.TypeName(to), expr.TypeName(arr.DataType()))
	}
	b.Reserve(arr.Len())
	for i := range arr.Len() {
		if arr.IsNull(i) {
			b.AppendNull()
		} else if err := set(i); err != nil {
			return nil, err
		}
	}
	return b.NewArray(), nil
}

// widener returns what appends value i, nil if the types do not go together.
func widener(arr arrow.Array, to array.Builder) func(i int) error {
	if !Widens(arr.DataType(), to.Type()) {
		return nil
	}
	ints := intAt(arr)
	done := func(f func(i int)) func(int) error {
		return func(i int) error {
			f(i)
			return nil
		}
	}
	switch b := to.(type) {
	case *array.Int16Builder:
		return done(func(i int) { b.Append(int16(ints(i))) })
	case *array.Int32Builder:
		return done(func(i int) { b.Append(int32(ints(i))) })
	case *array.Int64Builder:
		return done(func(i int) { b.Append(ints(i)) })
	case *array.Float64Builder:
		if f, ok := arr.(*array.Float32); ok {
			return done(func(i int) { b.Append(float64(f.Value(i))) })
		}
		return done(func(i int) { b.Append(float64(ints(i))) })
	case *array.Decimal128Builder:
		d := arr.(*array.Decimal128)
		by := to.Type().(*arrow.Decimal128Type).Scale - arr.DataType().(*arrow.Decimal128Type).Scale
		factor := decimal128.GetScaleMultiplier(int(by))
		return done(func(i int) { b.Append(d.Value(i).Mul(factor)) })
	case *array.TimestampBuilder:
		t := arr.(*array.Timestamp)
		factor := int64(to.Type().(*arrow.TimestampType).Unit.Multiplier())
		factor = int64(arr.DataType().(*arrow.TimestampType).Unit.Multiplier()) / factor
		return func(i int) error {
			v := int64(t.Value(i))
			if v > math.MaxInt64/factor || v < math.MinInt64/factor {
				return batch.UserErrorf("the time %d is too far away for type %s", v, expr.TypeName(to.Type()))
			}
			b.Append(arrow.Timestamp(v * factor))
			return nil
		}
	}
	return nil
}
