package text

import (
	"encoding/base64"
	"fmt"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Formatter appends the text of a value that is not null. It is for one goroutine.
type Formatter func(dst []byte, row int) []byte

// AppendTimestamp writes ISO 8601 with the digits of a second that are needed.
func AppendTimestamp(dst []byte, micros int64, utc bool) []byte {
	var d days
	return d.timestamp(dst, micros, utc)
}

// NewFormatter returns what writes the values of a column, dictionaries by their values.
func NewFormatter(a arrow.Array, binary64 bool) (Formatter, error) {
	switch a := a.(type) {
	case *array.String:
		return func(dst []byte, i int) []byte { return append(dst, a.Value(i)...) }, nil
	case *array.Binary:
		if binary64 {
			return func(dst []byte, i int) []byte { return base64.StdEncoding.AppendEncode(dst, a.Value(i)) }, nil
		}
		return func(dst []byte, i int) []byte { return append(dst, a.Value(i)...) }, nil
	case *array.Boolean:
		return func(dst []byte, i int) []byte { return strconv.AppendBool(dst, a.Value(i)) }, nil
	case *array.Int8:
		return func(dst []byte, i int) []byte { return appendInt(dst, int64(a.Value(i))) }, nil
	case *array.Int16:
		return func(dst []byte, i int) []byte { return appendInt(dst, int64(a.Value(i))) }, nil
	case *array.Int32:
		return func(dst []byte, i int) []byte { return appendInt(dst, int64(a.Value(i))) }, nil
	case *array.Int64:
		return func(dst []byte, i int) []byte { return appendInt(dst, a.Value(i)) }, nil
	case *array.Float32:
		return func(dst []byte, i int) []byte { return strconv.AppendFloat(dst, float64(a.Value(i)), 'g', -1, 32) }, nil
	case *array.Float64:
		return func(dst []byte, i int) []byte { return strconv.AppendFloat(dst, a.Value(i), 'g', -1, 64) }, nil
	case *array.Date32:
		var d days
		return func(dst []byte, i int) []byte { return d.append(dst, int64(a.Value(i))) }, nil
	case *array.Timestamp:
		utc := a.DataType().(*arrow.TimestampType).TimeZone != ""
		var d days
		return func(dst []byte, i int) []byte { return d.timestamp(dst, int64(a.Value(i)), utc) }, nil
	case *array.Decimal128:
		scale := a.DataType().(*arrow.Decimal128Type).Scale
		return func(dst []byte, i int) []byte { return append(dst, a.Value(i).ToString(scale)...) }, nil
	case *array.Time64:
		return func(dst []byte, i int) []byte { return AppendTimeOfDay(dst, int64(a.Value(i))) }, nil
	case *array.Duration:
		return func(dst []byte, i int) []byte { return appendInt(dst, int64(a.Value(i))) }, nil
	case *array.MonthInterval:
		return func(dst []byte, i int) []byte { return appendInt(dst, int64(a.Value(i))) }, nil
	case *array.Null:
		return func(dst []byte, _ int) []byte { return dst }, nil
	case *array.Dictionary:
		f, err := NewFormatter(a.Dictionary(), binary64)
		return func(dst []byte, i int) []byte { return f(dst, a.GetValueIndex(i)) }, err
	}
	return nil, fmt.Errorf("values of type %s cannot be written as text", a.DataType())
}
