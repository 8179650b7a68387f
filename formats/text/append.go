package text

import (
	"encoding/base64"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Appender puts the value that a text means into its builder.
type Appender func(b []byte) error

// Supported reports whether single values of a type can be read from text.
func Supported(dt arrow.DataType) bool {
	switch t := dt.(type) {
	case *arrow.TimestampType:
		return t.Unit == arrow.Microsecond
	case *arrow.BooleanType, *arrow.Int8Type, *arrow.Int16Type, *arrow.Int32Type, *arrow.Int64Type, *arrow.Float32Type, *arrow.Float64Type,
		*arrow.StringType, *arrow.BinaryType, *arrow.Date32Type, *arrow.Decimal128Type:
		return true
	}
	return false
}

// NewAppender returns what appends to b. binary64 says that binary values are
// base64 (JSON) and not the bytes themselves (CSV).
func NewAppender(b array.Builder, times TimeFormat, binary64 bool) (Appender, error) {
	switch b := b.(type) {
	case *array.StringBuilder:
		return func(v []byte) error {
			if !utf8.Valid(v) {
				return errUTF8
			}
			b.BinaryBuilder.Append(v)
			return nil
		}, nil
	case *array.BinaryBuilder:
		if binary64 {
			return func(v []byte) error { return appendBase64(b, v) }, nil
		}
		return func(v []byte) error { b.Append(v); return nil }, nil
	case *array.BooleanBuilder:
		return put(b.Append, ParseBool), nil
	case *array.Int8Builder:
		return ints(b.Append, math.MinInt8, math.MaxInt8), nil
	case *array.Int16Builder:
		return ints(b.Append, math.MinInt16, math.MaxInt16), nil
	case *array.Int32Builder:
		return ints(b.Append, math.MinInt32, math.MaxInt32), nil
	case *array.Int64Builder:
		return put(b.Append, ParseInt), nil
	case *array.Float32Builder:
		return func(v []byte) error {
			f, err := ParseFloat(v, 32)
			if err == nil {
				b.Append(float32(f))
			}
			return err
		}, nil
	case *array.Float64Builder:
		return put(b.Append, func(v []byte) (float64, error) { return ParseFloat(v, 64) }), nil
	case *array.Date32Builder:
		return put(b.Append, func(v []byte) (arrow.Date32, error) { d, err := times.Date(v); return arrow.Date32(d), err }), nil
	case *array.TimestampBuilder:
		local := b.Type().(*arrow.TimestampType).TimeZone == ""
		if times.universal(local) {
			var m minute
			return put(b.Append, m.parse), nil
		}
		return put(b.Append, func(v []byte) (arrow.Timestamp, error) {
			t, err := times.Parse(v, local)
			return arrow.Timestamp(t), err
		}), nil
	case *array.Time64Builder:
		return put(b.Append, func(v []byte) (arrow.Time64, error) { t, err := ParseTimeOfDay(v); return arrow.Time64(t), err }), nil
	case *array.Decimal128Builder:
		dt := b.Type().(*arrow.Decimal128Type)
		return func(v []byte) error {
			d, err := ParseDecimal(v, dt.Precision, dt.Scale)
			if err == nil {
				b.Append(d)
			}
			return err
		}, nil
	}
	return nil, fmt.Errorf("values of type %s cannot be read from text", b.Type())
}

func put[T any](add func(T), parse func([]byte) (T, error)) Appender {
	return func(v []byte) error {
		x, err := parse(v)
		if err == nil {
			add(x)
		}
		return err
	}
}

func ints[T int8 | int16 | int32](add func(T), lo, hi int64) Appender {
	return func(v []byte) error {
		x, err := ParseInt(v)
		if err != nil {
			return err
		}
		if x < lo || x > hi {
			return errRange
		}
		add(T(x))
		return nil
	}
}

func appendBase64(b *array.BinaryBuilder, v []byte) error {
	out := make([]byte, base64.StdEncoding.DecodedLen(len(v)))
	n, err := base64.StdEncoding.Decode(out, v)
	if err != nil {
		return fmt.Errorf("not base64")
	}
	b.Append(out[:n])
	return nil
}

// Quote shortens a value for an error.
func Quote(b []byte) string {
	const most = 80
	if len(b) > most {
		return fmt.Sprintf("%q...", b[:most])
	}
	return fmt.Sprintf("%q", b)
}
