package builders

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

var (
	errUTF8  = errors.New("it is not valid UTF-8; declare the column BINARY to take any bytes")
	errFits  = errors.New("it is out of the column's range")
	errWhole = errors.New("it is too large for a number of 128 bits")
)

// Int returns what puts a whole number, false if the builder cannot hold one.
func Int(b array.Builder) (func(int64) error, bool) {
	switch b := b.(type) {
	case *array.Int8Builder:
		return narrow(b.Append, math.MinInt8, math.MaxInt8), true
	case *array.Int16Builder:
		return narrow(b.Append, math.MinInt16, math.MaxInt16), true
	case *array.Int32Builder:
		return narrow(b.Append, math.MinInt32, math.MaxInt32), true
	case *array.Int64Builder:
		return func(v int64) error { b.Append(v); return nil }, true
	case *array.Float32Builder:
		return func(v int64) error { b.Append(float32(v)); return nil }, true
	case *array.Float64Builder:
		return func(v int64) error { b.Append(float64(v)); return nil }, true
	case *array.Decimal128Builder:
		put := decimal(b, 0)
		return func(v int64) error { return put(decimal128.FromI64(v)) }, true
	}
	return nil, false
}

func narrow[T int8 | int16 | int32](add func(T), lo, hi int64) func(int64) error {
	return func(v int64) error {
		if v < lo || v > hi {
			return fmt.Errorf("%d: %w", v, errFits)
		}
		add(T(v))
		return nil
	}
}

// Uint returns what puts a whole number without sign.
func Uint(b array.Builder) (func(uint64) error, bool) {
	if d, ok := b.(*array.Decimal128Builder); ok {
		put := decimal(d, 0)
		return func(v uint64) error { return put(decimal128.New(0, v)) }, true
	}
	put, ok := Int(b)
	return func(v uint64) error {
		if v > math.MaxInt64 {
			return fmt.Errorf("%d: %w", v, errFits)
		}
		return put(int64(v))
	}, ok
}

// Float returns what puts a floating-point number.
func Float(b array.Builder) (func(float64) error, bool) {
	switch b := b.(type) {
	case *array.Float32Builder:
		return func(v float64) error { b.Append(float32(v)); return nil }, true
	case *array.Float64Builder:
		return func(v float64) error { b.Append(v); return nil }, true
	}
	return nil, false
}

// Bool returns what puts a truth value.
func Bool(b array.Builder) (func(bool) error, bool) {
	if b, ok := b.(*array.BooleanBuilder); ok {
		return func(v bool) error { b.Append(v); return nil }, true
	}
	return nil, false
}

// Bytes returns what puts bytes; into a STRING they must be UTF-8.
func Bytes(b array.Builder) (func([]byte) error, bool) {
	switch b := b.(type) {
	case *array.BinaryBuilder:
		return func(v []byte) error { b.Append(v); return nil }, true
	case *array.StringBuilder:
		return func(v []byte) error {
			if !utf8.Valid(v) {
				return errUTF8
			}
			b.BinaryBuilder.Append(v)
			return nil
		}, true
	}
	return nil, false
}

// Micros returns what puts an instant or a wall clock, in units of which so many are a
// microsecond (1), or which is so many microseconds (1000 for milliseconds) if negative.
func Micros(b array.Builder, perMicro int64) (func(int64) error, bool) {
	t, ok := b.(*array.TimestampBuilder)
	if !ok || t.Type().(*arrow.TimestampType).Unit != arrow.Microsecond {
		return nil, false
	}
	scale := scaled(perMicro)
	return func(v int64) error {
		v, err := scale(v)
		if err == nil {
			t.Append(arrow.Timestamp(v))
		}
		return err
	}, true
}

// scaled divides rounding down, or multiplies if n is negative.
func scaled(n int64) func(int64) (int64, error) {
	if n < 0 {
		n = -n
		return func(v int64) (int64, error) {
			if v > math.MaxInt64/n || v < math.MinInt64/n {
				return 0, fmt.Errorf("%d: %w", v, errFits)
			}
			return v * n, nil
		}
	}
	return func(v int64) (int64, error) {
		q := v / n
		if v%n < 0 {
			q--
		}
		return q, nil
	}
}

const dayMicros = 24 * 60 * 60 * 1_000_000

// TimeOfDay returns what puts a time of day, in units as Micros has them.
func TimeOfDay(b array.Builder, perMicro int64) (func(int64) error, bool) {
	t, ok := b.(*array.Time64Builder)
	if !ok || t.Type().(*arrow.Time64Type).Unit != arrow.Microsecond {
		return nil, false
	}
	scale := scaled(perMicro)
	return func(v int64) error {
		m, err := scale(v)
		if err == nil && (m < 0 || m >= dayMicros) {
			err = fmt.Errorf("%d: %w", v, errFits)
		}
		if err == nil {
			t.Append(arrow.Time64(m))
		}
		return err
	}, true
}

// Days returns what puts a day, as days since 1970.
func Days(b array.Builder) (func(int64) error, bool) {
	d, ok := b.(*array.Date32Builder)
	if !ok {
		return nil, false
	}
	return narrow(func(v int32) { d.Append(arrow.Date32(v)) }, math.MinInt32, math.MaxInt32), true
}

// Duration returns what puts a span of time in microseconds.
func Duration(b array.Builder) (func(int64) error, bool) {
	d, ok := b.(*array.DurationBuilder)
	if !ok || d.Type().(*arrow.DurationType).Unit != arrow.Microsecond {
		return nil, false
	}
	return func(v int64) error { d.Append(arrow.Duration(v)); return nil }, true
}

// Decimal returns what puts a decimal number of so many fraction digits, given as the
// big-endian bytes of its digits. The column must not have fewer.
func Decimal(b array.Builder, scale int32) (func([]byte) error, bool) {
	d, ok := b.(*array.Decimal128Builder)
	if !ok || scale < 0 || d.Type().(*arrow.Decimal128Type).Scale < scale {
		return nil, false
	}
	put := decimal(d, scale)
	return func(v []byte) error {
		n, err := FromBytes(v)
		if err != nil {
			return err
		}
		return put(n)
	}, true
}

// decimal puts digits with so many behind the point.
func decimal(b *array.Decimal128Builder, scale int32) func(decimal128.Num) error {
	t := b.Type().(*arrow.Decimal128Type)
	up := t.Scale - scale
	return func(n decimal128.Num) error {
		if !n.FitsInPrecision(t.Precision - up) {
			return fmt.Errorf("%s: %w", n.ToString(scale), errFits)
		}
		if up > 0 {
			n = n.IncreaseScaleBy(up)
		}
		b.Append(n)
		return nil
	}
}

// FromBytes reads a whole number in two's complement, the highest byte first.
func FromBytes(v []byte) (decimal128.Num, error) {
	if len(v) == 0 {
		return decimal128.Num{}, nil
	}
	fill := byte(int8(v[0]) >> 7)
	for len(v) > 16 {
		if v[0] != fill || (v[1]^fill)&0x80 != 0 {
			return decimal128.Num{}, errWhole
		}
		v = v[1:]
	}
	hi, lo := uint64(int64(int8(fill))), uint64(int64(int8(fill)))
	for _, c := range v {
		hi = hi<<8 | lo>>56
		lo = lo<<8 | uint64(c)
	}
	return decimal128.New(int64(hi), lo), nil
}

// AppendBytes appends a whole number as FromBytes reads it, in as few bytes as it takes.
func AppendBytes(dst []byte, n decimal128.Num) []byte {
	var all [16]byte
	for i := range 8 {
		all[i] = byte(uint64(n.HighBits()) >> (56 - 8*i))
		all[8+i] = byte(n.LowBits() >> (56 - 8*i))
	}
	at := 0
	for fill := byte(int8(all[0]) >> 7); at < 15 && all[at] == fill && (all[at+1]^fill)&0x80 == 0; at++ {
	}
	return append(dst, all[at:]...)
}
