package render

import (
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

// appendLeaf appends a value that is neither NULL, nested, text nor binary. sep
// parts date and time; zone says whether an instant shows its offset from UTC.
func (f *Formatter) appendLeaf(dst []byte, arr arrow.Array, row int, sep byte, zone bool) []byte {
	switch a := arr.(type) {
	case *array.Boolean:
		return strconv.AppendBool(dst, a.Value(row))
	case *array.Int8:
		return strconv.AppendInt(dst, int64(a.Value(row)), 10)
	case *array.Int16:
		return strconv.AppendInt(dst, int64(a.Value(row)), 10)
	case *array.Int32:
		return strconv.AppendInt(dst, int64(a.Value(row)), 10)
	case *array.Int64:
		return strconv.AppendInt(dst, a.Value(row), 10)
	case *array.Uint8:
		return strconv.AppendUint(dst, uint64(a.Value(row)), 10)
	case *array.Uint16:
		return strconv.AppendUint(dst, uint64(a.Value(row)), 10)
	case *array.Uint32:
		return strconv.AppendUint(dst, uint64(a.Value(row)), 10)
	case *array.Uint64:
		return strconv.AppendUint(dst, a.Value(row), 10)
	case *array.Float16:
		return AppendFloat(dst, float64(a.Value(row).Float32()), 32)
	case *array.Float32:
		return AppendFloat(dst, float64(a.Value(row)), 32)
	case *array.Float64:
		return AppendFloat(dst, a.Value(row), 64)
	case *array.Timestamp:
		t, ok := a.DataType().(*arrow.TimestampType)
		if !ok {
			break
		}
		at := timeOf(int64(a.Value(row)), t.Unit)
		if t.TimeZone == "" {
			return AppendTime(dst, at, sep)
		}
		at = at.In(f.zone)
		if dst = AppendTime(dst, at, sep); zone {
			dst = appendZone(dst, at)
		}
		return dst
	}
	return appendRare(dst, arr, row)
}

// appendRare appends the leaves that streams seldom carry.
func appendRare(dst []byte, arr arrow.Array, row int) []byte {
	switch a := arr.(type) {
	case *array.Date32:
		return appendDate(dst, time.Unix(int64(a.Value(row))*86400, 0).UTC())
	case *array.Date64:
		return appendDate(dst, time.UnixMilli(int64(a.Value(row))).UTC())
	case *array.Time32:
		if t, ok := a.DataType().(*arrow.Time32Type); ok {
			return appendTimeOfDay(dst, int64(a.Value(row)), t.Unit)
		}
	case *array.Time64:
		if t, ok := a.DataType().(*arrow.Time64Type); ok {
			return appendTimeOfDay(dst, int64(a.Value(row)), t.Unit)
		}
	case *array.Duration:
		if t, ok := a.DataType().(*arrow.DurationType); ok {
			return appendDaySecond(dst, int64(a.Value(row)), t.Unit)
		}
	case *array.MonthInterval:
		return appendYearMonth(dst, int64(a.Value(row)))
	case *array.DayTimeInterval:
		v := a.Value(row)
		return appendDaySecond(dst, int64(v.Days)*86_400_000+int64(v.Milliseconds), arrow.Millisecond)
	case *array.MonthDayNanoInterval:
		v := a.Value(row)
		return appendCalendar(dst, int64(v.Months), int64(v.Days), v.Nanoseconds)
	}
	return appendDecimals(dst, arr, row)
}

func appendTimeOfDay(dst []byte, v int64, unit arrow.TimeUnit) []byte {
	at := timeOf(v, unit)
	h, m, s := at.Clock()
	return appendClock(dst, h, m, s, at.Nanosecond())
}

// appendDecimals appends a decimal of any width; what is left after them is
// printed the way Arrow does, so that a type that is new to Arrow still shows.
func appendDecimals(dst []byte, arr arrow.Array, row int) []byte {
	t, ok := arr.DataType().(arrow.DecimalType)
	if !ok {
		return append(dst, arr.ValueStr(row)...)
	}
	scale := t.GetScale()
	switch a := arr.(type) {
	case *array.Decimal32:
		return AppendDecimal(dst, decimal128.FromI64(int64(a.Value(row))), scale)
	case *array.Decimal64:
		return AppendDecimal(dst, decimal128.FromI64(int64(a.Value(row))), scale)
	case *array.Decimal128:
		return AppendDecimal(dst, a.Value(row), scale)
	case *array.Decimal256:
		return appendBigDecimal(dst, a.Value(row).BigInt(), scale)
	}
	return append(dst, arr.ValueStr(row)...)
}
