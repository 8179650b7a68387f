package datagen

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"github.com/sluice-stream/sluice/internal/options"
)

// whole describes a type whose values are whole numbers inside: integers,
// decimals of up to 18 digits, dates, times and intervals.
type whole struct {
	low, high   int64 // default range
	floor, ceil int64 // what the type can hold
	from        int64 // default start of a sequence
	step        int64 // default step
	parse       func(string) (int64, error)
	parseStep   func(string) (int64, error)
	appendValue func(array.Builder, int64)
}

// integer is a type that only differs in its range and builder.
func integer(low, high int64, appendValue func(array.Builder, int64)) (whole, bool) {
	parse := func(s string) (int64, error) {
		v, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 10, 64)
		if err != nil || v < low || v > high {
			return 0, fmt.Errorf("want a whole number from %d to %d", low, high)
		}
		return v, nil
	}
	return whole{low: low, high: high, floor: low, ceil: high, step: 1, parse: parse, parseStep: parseCount, appendValue: appendValue}, true
}

func parseCount(s string) (int64, error) {
	v, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 10, 64)
	if err != nil || v == 0 {
		return 0, errors.New("want a whole number other than 0")
	}
	return v, nil
}

// wholeOf returns how a type's values are made from whole numbers.
func wholeOf(dt arrow.DataType) (whole, bool) {
	switch t := dt.(type) {
	case *arrow.Int8Type:
		return integer(math.MinInt8, math.MaxInt8, func(b array.Builder, v int64) { b.(*array.Int8Builder).UnsafeAppend(int8(v)) })
	case *arrow.Int16Type:
		return integer(math.MinInt16, math.MaxInt16, func(b array.Builder, v int64) { b.(*array.Int16Builder).UnsafeAppend(int16(v)) })
	case *arrow.Int32Type:
		return integer(math.MinInt32, math.MaxInt32, func(b array.Builder, v int64) { b.(*array.Int32Builder).UnsafeAppend(int32(v)) })
	case *arrow.Int64Type:
		return integer(math.MinInt64, math.MaxInt64, func(b array.Builder, v int64) { b.(*array.Int64Builder).UnsafeAppend(v) })
	case *arrow.Uint8Type:
		return integer(0, math.MaxUint8, func(b array.Builder, v int64) { b.(*array.Uint8Builder).UnsafeAppend(uint8(v)) })
	case *arrow.Uint16Type:
		return integer(0, math.MaxUint16, func(b array.Builder, v int64) { b.(*array.Uint16Builder).UnsafeAppend(uint16(v)) })
	case *arrow.Uint32Type:
		return integer(0, math.MaxUint32, func(b array.Builder, v int64) { b.(*array.Uint32Builder).UnsafeAppend(uint32(v)) })
	case *arrow.Uint64Type:
		return integer(0, math.MaxInt64, func(b array.Builder, v int64) { b.(*array.Uint64Builder).UnsafeAppend(uint64(v)) })
	case *arrow.MonthIntervalType:
		return integer(0, 1200, func(b array.Builder, v int64) { b.(*array.MonthIntervalBuilder).Append(arrow.MonthInterval(v)) })
	case *arrow.Decimal128Type:
		return decimal(t)
	case *arrow.Date32Type:
		return instant(24*time.Hour, func(b array.Builder, v int64) { b.(*array.Date32Builder).UnsafeAppend(arrow.Date32(v)) })
	case *arrow.Date64Type:
		return instant(24*time.Hour, func(b array.Builder, v int64) { b.(*array.Date64Builder).UnsafeAppend(arrow.Date64(v * 86_400_000)) })
	case *arrow.TimestampType:
		return instant(t.Unit.Multiplier(), func(b array.Builder, v int64) { b.(*array.TimestampBuilder).UnsafeAppend(arrow.Timestamp(v)) })
	case *arrow.DurationType:
		return length(t.Unit, math.MaxInt64, func(b array.Builder, v int64) { b.(*array.DurationBuilder).UnsafeAppend(arrow.Duration(v)) })
	case *arrow.Time32Type:
		return length(t.Unit, dayIn(t.Unit), func(b array.Builder, v int64) { b.(*array.Time32Builder).UnsafeAppend(arrow.Time32(v)) })
	case *arrow.Time64Type:
		return length(t.Unit, dayIn(t.Unit), func(b array.Builder, v int64) { b.(*array.Time64Builder).UnsafeAppend(arrow.Time64(v)) })
	}
	return whole{}, false
}

// decimal makes decimals from their digits without the point. Of wider ones than
// 18 digits the upper digits stay zero.
func decimal(t *arrow.Decimal128Type) (whole, bool) {
	one := int64(1)
	for range min(t.Scale, 18) {
		one *= 10
	}
	high := int64(1)
	for range min(t.Precision, 18) {
		high *= 10
	}
	high--
	parse := func(s string) (int64, error) {
		v, err := decimal128.FromString(s, t.Precision, t.Scale)
		if err != nil {
			return 0, fmt.Errorf("want a number of type %s", t)
		}
		if v.HighBits() != int64(v.LowBits())>>63 {
			return 0, errors.New("a random or counted decimal has at most 18 digits")
		}
		return int64(v.LowBits()), nil
	}
	step := func(s string) (int64, error) {
		v, err := parse(s)
		if err == nil && v == 0 {
			err = errors.New("want a number other than 0")
		}
		return v, err
	}
	return whole{low: -high, high: high, floor: -high, ceil: high, step: min(one, high), parse: parse, parseStep: step, appendValue: func(b array.Builder, v int64) {
		b.(*array.Decimal128Builder).UnsafeAppend(decimal128.FromI64(v))
	}}, true
}

// layouts are the forms of a time that options take.
var layouts = []string{time.RFC3339Nano, "2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02"}

// Defaults and limits of times. Nanoseconds reach from 1677 to 2262 only.
var (
	year1    = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	year1700 = time.Date(1700, 1, 1, 0, 0, 0, 0, time.UTC)
	year2000 = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	year2030 = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	year2250 = time.Date(2250, 1, 1, 0, 0, 0, 0, time.UTC)
	year9999 = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
)

// instant makes dates and timestamps, counted in units since 1970.
func instant(unit time.Duration, appendValue func(array.Builder, int64)) (whole, bool) {
	count := func(t time.Time) int64 {
		perSecond := int64(time.Second / unit)
		if perSecond == 0 { // days
			return floorDiv(t.Unix(), int64(unit/time.Second))
		}
		return t.Unix()*perSecond + int64(t.Nanosecond())/int64(unit)
	}
	first, last := year1, year9999
	if unit == time.Nanosecond {
		first, last = year1700, year2250
	}
	parse := func(s string) (int64, error) {
		for _, layout := range layouts {
			if t, err := time.Parse(layout, s); err == nil && !t.Before(first) && !t.After(last) {
				return count(t), nil
			}
		}
		return 0, fmt.Errorf("want a time such as '2024-01-31 12:00:00', from %d to %d", first.Year(), last.Year())
	}
	step := int64(1)
	if unit <= time.Second {
		step = int64(time.Second / unit)
	}
	return whole{
		low: count(year2000), high: count(year2030) - 1, from: count(year2000), step: step,
		floor: count(first), ceil: count(last),
		parse: parse, parseStep: durationIn(unit), appendValue: appendValue,
	}, true
}

// length makes lengths of time up to a day.
func length(unit arrow.TimeUnit, ceil int64, appendValue func(array.Builder, int64)) (whole, bool) {
	d := unit.Multiplier()
	return whole{
		high: int64(24*time.Hour/d) - 1, floor: -ceil, ceil: ceil, step: int64(time.Second / d),
		parse: func(s string) (int64, error) {
			v, err := options.ParseDuration(s)
			if err == nil && (int64(v/d) > ceil || int64(v/d) < -ceil) {
				err = errors.New("a time of day is less than a day")
			}
			return int64(v / d), err
		},
		parseStep: durationIn(d), appendValue: appendValue,
	}, true
}

// dayIn is the last time of a day.
func dayIn(unit arrow.TimeUnit) int64 { return int64(24*time.Hour/unit.Multiplier()) - 1 }

// durationIn reads a step of at least one unit.
func durationIn(unit time.Duration) func(string) (int64, error) {
	return func(s string) (int64, error) {
		d, err := options.ParseDuration(s)
		if err != nil || d/unit == 0 {
			return 0, fmt.Errorf("want a duration of at least %v", unit)
		}
		return int64(d / unit), nil
	}
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
