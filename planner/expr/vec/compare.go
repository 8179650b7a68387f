package vec

import (
	"bytes"
	"cmp"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Compare orders row i of a against row j of b, arrays of one type. NULL is
// less than a value, NaN more than any other number; structs and arrays compare
// element by element.
func Compare(a arrow.Array, i int, b arrow.Array, j int) int {
	an, bn := IsNull(a, i), IsNull(b, j)
	if an || bn {
		switch {
		case an && bn:
			return 0
		case an:
			return -1
		default:
			return 1
		}
	}
	switch x := a.(type) {
	case *array.Null:
		return 0
	case *array.Boolean:
		return cmpBool(x.Value(i), b.(*array.Boolean).Value(j))
	case *array.Int8:
		return cmp.Compare(x.Value(i), b.(*array.Int8).Value(j))
	case *array.Int16:
		return cmp.Compare(x.Value(i), b.(*array.Int16).Value(j))
	case *array.Float32:
		return CompareFloat(float64(x.Value(i)), float64(b.(*array.Float32).Value(j)))
	case *array.Float64:
		return CompareFloat(x.Value(i), b.(*array.Float64).Value(j))
	case *array.Decimal128:
		return x.Value(i).Cmp(b.(*array.Decimal128).Value(j))
	case *array.String:
		return cmp.Compare(x.Value(i), b.(*array.String).Value(j))
	case *array.Binary:
		return bytes.Compare(x.Value(i), b.(*array.Binary).Value(j))
	case *array.Struct:
		y := b.(*array.Struct)
		for f := range x.NumField() {
			if c := Compare(x.Field(f), i, y.Field(f), j); c != 0 {
				return c
			}
		}
		return 0
	case *array.List:
		return compareLists(x, i, b.(*array.List), j)
	case *array.Map:
		return compareLists(x.List, i, b.(*array.Map).List, j)
	}
	if a.DataType().(arrow.FixedWidthDataType).BitWidth() == 32 {
		return cmp.Compare(Values[int32](a)[i], Values[int32](b)[j])
	}
	return cmp.Compare(Values[int64](a)[i], Values[int64](b)[j])
}

// CompareFloat orders floats as SQL does: -0.0 equals 0.0, NaN is equal to itself and greatest.
func CompareFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	case a == b:
		return 0
	}
	return cmpBool(math.IsNaN(a), math.IsNaN(b))
}

func cmpBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

func compareLists(a *array.List, i int, b *array.List, j int) int {
	va, vb := ListOf(a), ListOf(b)
	n := min(va.Len(i), vb.Len(j))
	for k := range n {
		if c := Compare(va.Elems, va.Start(i)+k, vb.Elems, vb.Start(j)+k); c != 0 {
			return c
		}
	}
	return cmp.Compare(va.Len(i), vb.Len(j))
}
