package rowkey

import (
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/float16"
)

// Width returns the bytes that a key of type dt has if it is fixed, at most 8,
// and 0 for all other types. Such a type has words.
func Width(dt arrow.DataType) int {
	switch dt.ID() {
	case arrow.BOOL, arrow.INT8, arrow.UINT8:
		return 1
	case arrow.INT16, arrow.UINT16, arrow.FLOAT16:
		return 2
	case arrow.INT32, arrow.UINT32, arrow.DATE32, arrow.TIME32, arrow.FLOAT32, arrow.INTERVAL_MONTHS:
		return 4
	case arrow.INT64, arrow.UINT64, arrow.DATE64, arrow.TIME64, arrow.TIMESTAMP, arrow.DURATION, arrow.FLOAT64:
		return 8
	}
	return 0
}

// Words fills out with one word per row of a column with a Width: words compare
// as unsigned numbers as the values do, and equal values have equal words. What
// stands under a NULL is undefined. out has the length of the column.
func Words(arr arrow.Array, out []uint64) {
	switch a := arr.(type) {
	case *array.Boolean:
		for i := range out {
			out[i] = 0
			if a.Value(i) {
				out[i] = 1
			}
		}
	case *array.Int8:
		signed8(a.Int8Values(), out)
	case *array.Int16:
		signed16(a.Int16Values(), out)
	case *array.Int32:
		signed32(a.Int32Values(), out)
	case *array.Date32:
		signed32(a.Date32Values(), out)
	case *array.Time32:
		signed32(a.Time32Values(), out)
	case *array.MonthInterval:
		signed32(a.MonthIntervalValues(), out)
	case *array.Int64:
		signed64(a.Int64Values(), out)
	case *array.Date64:
		signed64(a.Date64Values(), out)
	case *array.Time64:
		signed64(a.Time64Values(), out)
	case *array.Timestamp:
		signed64(a.TimestampValues(), out)
	case *array.Duration:
		signed64(a.DurationValues(), out)
	case *array.Uint8:
		unsigned(a.Uint8Values(), out)
	case *array.Uint16:
		unsigned(a.Uint16Values(), out)
	case *array.Uint32:
		unsigned(a.Uint32Values(), out)
	case *array.Uint64:
		unsigned(a.Uint64Values(), out)
	default:
		floatWords(arr, out)
	}
}

func floatWords(arr arrow.Array, out []uint64) {
	switch a := arr.(type) {
	case *array.Float16:
		for i, v := range a.Values() {
			out[i] = uint64(float16Word(v))
		}
	case *array.Float32:
		for i, v := range a.Float32Values() {
			out[i] = uint64(float32Word(v))
		}
	case *array.Float64:
		for i, v := range a.Float64Values() {
			out[i] = float64Word(v)
		}
	}
}

func signed8[T ~int8](vs []T, out []uint64) {
	for i, v := range vs {
		out[i] = uint64(uint8(v) ^ 1<<7)
	}
}

func signed16[T ~int16](vs []T, out []uint64) {
	for i, v := range vs {
		out[i] = uint64(uint16(v) ^ 1<<15)
	}
}

func signed32[T ~int32](vs []T, out []uint64) {
	for i, v := range vs {
		out[i] = uint64(uint32(v) ^ 1<<31)
	}
}

func signed64[T ~int64](vs []T, out []uint64) {
	out = out[:len(vs)]
	for i, v := range vs {
		out[i] = uint64(v) ^ 1<<63
	}
}

func unsigned[T ~uint8 | ~uint16 | ~uint32 | ~uint64](vs []T, out []uint64) {
	for i, v := range vs {
		out[i] = uint64(v)
	}
}

// float64Word orders floats totally: -Inf .. -0=0 .. +Inf, NaN.
func float64Word(v float64) uint64 {
	if v == 0 {
		return 1 << 63
	}
	if v != v {
		return ^uint64(0)
	}
	b := math.Float64bits(v)
	if b>>63 != 0 {
		return ^b
	}
	return b | 1<<63
}

func float32Word(v float32) uint32 {
	if v == 0 {
		return 1 << 31
	}
	if v != v {
		return ^uint32(0)
	}
	b := math.Float32bits(v)
	if b>>31 != 0 {
		return ^b
	}
	return b | 1<<31
}

func float16Word(v float16.Num) uint16 {
	b := v.Uint16()
	if b&0x7fff == 0 {
		return 1 << 15
	}
	if b&0x7c00 == 0x7c00 && b&0x3ff != 0 {
		return ^uint16(0)
	}
	if b>>15 != 0 {
		return ^b
	}
	return b | 1<<15
}

// The inverses. The canonical NaN comes back as Go's.

func wordFloat64(w uint64) float64 {
	switch {
	case w == ^uint64(0):
		return math.NaN()
	case w>>63 != 0:
		return math.Float64frombits(w &^ (1 << 63))
	}
	return math.Float64frombits(^w)
}

func wordFloat32(w uint32) float32 {
	switch {
	case w == ^uint32(0):
		return float32(math.NaN())
	case w>>31 != 0:
		return math.Float32frombits(w &^ (1 << 31))
	}
	return math.Float32frombits(^w)
}

func wordFloat16(w uint16) float16.Num {
	switch {
	case w == ^uint16(0):
		return float16.FromBits(0x7e00)
	case w>>15 != 0:
		return float16.FromBits(w &^ (1 << 15))
	}
	return float16.FromBits(^w)
}
