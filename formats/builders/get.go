package builders

import (
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Plain returns the array that holds a column's values, and the place of a row in it:
// dictionaries are looked through. at is nil where the places are the same.
func Plain(a arrow.Array) (values arrow.Array, at func(row int) int) {
	if d, ok := a.(*array.Dictionary); ok {
		return d.Dictionary(), d.GetValueIndex
	}
	return a, nil
}

// Ints returns what gets whole numbers: of integers, days, times, instants and spans in
// the unit they have.
func Ints(a arrow.Array) (func(i int) int64, bool) {
	switch a := a.(type) {
	case *array.Int8:
		return func(i int) int64 { return int64(a.Value(i)) }, true
	case *array.Int16:
		return func(i int) int64 { return int64(a.Value(i)) }, true
	case *array.Int32:
		return func(i int) int64 { return int64(a.Value(i)) }, true
	case *array.Int64:
		return a.Value, true
	case *array.Date32:
		return func(i int) int64 { return int64(a.Value(i)) }, true
	case *array.Time64:
		return func(i int) int64 { return int64(a.Value(i)) }, true
	case *array.Timestamp:
		return func(i int) int64 { return int64(a.Value(i)) }, true
	case *array.Duration:
		return func(i int) int64 { return int64(a.Value(i)) }, true
	case *array.MonthInterval:
		return func(i int) int64 { return int64(a.Value(i)) }, true
	}
	return nil, false
}

// Floats returns what gets floating-point numbers, of whole ones too.
func Floats(a arrow.Array) (func(i int) float64, bool) {
	switch a := a.(type) {
	case *array.Float32:
		return func(i int) float64 { return float64(a.Value(i)) }, true
	case *array.Float64:
		return a.Value, true
	case *array.Int8, *array.Int16, *array.Int32, *array.Int64:
		get, _ := Ints(a)
		return func(i int) float64 { return float64(get(i)) }, true
	}
	return nil, false
}

// Texts returns what gets the bytes of texts and binaries, valid as long as the array
// and not to be written to.
func Texts(a arrow.Array) (func(i int) []byte, bool) {
	switch a := a.(type) {
	case *array.String:
		return func(i int) []byte {
			v := a.Value(i)
			return unsafe.Slice(unsafe.StringData(v), len(v))
		}, true
	case *array.Binary:
		return a.Value, true
	}
	return nil, false
}
