package cast

import (
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/civil"
	"github.com/sluice-stream/sluice/planner/expr/dec"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// zoned makes a conversion that needs the session's zone.
func zoned[A, R vec.Value](c conv, f func(z *civil.Zone, a A) (R, code)) expr.Kernel {
	show := func(A) string { return "" }
	return rows(c, show, func(kc *expr.KernelContext) (func(A) (R, code), error) {
		z, err := civil.Load(kc.Zone)
		return func(a A) (R, code) { return f(z, a) }, err
	})
}

func (c conv) fromDate() expr.Kernel {
	switch c.to.ID() {
	case arrow.STRING:
		return plainText(func(dst []byte, d int32) []byte { return civil.AppendDate(dst, int64(d)) })
	case arrow.TIMESTAMP:
		if c.to.(*arrow.TimestampType).TimeZone == "" {
			return plain(c, showInt[int32], func(d int32) (int64, code) { return int64(d) * civil.Day, ok })
		}
		return zoned(c, func(z *civil.Zone, d int32) (int64, code) { return z.Instant(int64(d) * civil.Day), ok })
	}
	return nil
}

func (c conv) fromStamp() expr.Kernel {
	local := c.from.(*arrow.TimestampType).TimeZone == ""
	clock := func(z *civil.Zone, us int64) int64 {
		if local {
			return us
		}
		return z.Local(us)
	}
	switch c.to.ID() {
	case arrow.STRING:
		return text(func(kc *expr.KernelContext) (func(dst []byte, us int64) []byte, error) {
			z, err := civil.Load(kc.Zone)
			return func(dst []byte, us int64) []byte { return civil.AppendClock(dst, clock(z, us)) }, err
		})
	case arrow.DATE32:
		return zoned(c, func(z *civil.Zone, us int64) (int32, code) {
			return int32(civil.FloorDiv(clock(z, us), civil.Day)), ok
		})
	case arrow.TIME64:
		return zoned(c, func(z *civil.Zone, us int64) (int64, code) { return civil.FloorMod(clock(z, us), civil.Day), ok })
	case arrow.TIMESTAMP:
		toLocal := c.to.(*arrow.TimestampType).TimeZone == ""
		switch {
		case local == toLocal:
			return vec.Reinterpret
		case toLocal:
			return zoned(c, func(z *civil.Zone, us int64) (int64, code) { return z.Local(us), ok })
		default:
			return zoned(c, func(z *civil.Zone, us int64) (int64, code) { return z.Instant(us), ok })
		}
	}
	if local {
		return nil
	}
	return c.stampToNumber()
}

// stampToNumber gives seconds since 1970.
func (c conv) stampToNumber() expr.Kernel {
	switch c.to.ID() {
	case arrow.INT8:
		return stampInt[int8](c)
	case arrow.INT16:
		return stampInt[int16](c)
	case arrow.INT32:
		return stampInt[int32](c)
	case arrow.INT64:
		return stampInt[int64](c)
	case arrow.FLOAT32:
		return plain(c, showInt[int64], func(us int64) (float32, code) { return float32(float64(us) / 1e6), ok })
	case arrow.FLOAT64:
		return plain(c, showInt[int64], func(us int64) (float64, code) { return float64(us) / 1e6, ok })
	case arrow.DECIMAL128:
		t, _ := dec.Of(c.to)
		return plain(c, showInt[int64], func(us int64) (dec.Num, code) {
			v, fits := dec.Rescale(decimal128.FromI64(us), 6, t.S, t.P)
			return v, overIf(!fits)
		})
	}
	return nil
}

func stampInt[R integer](c conv) expr.Kernel {
	return plain(c, showInt[int64], func(us int64) (R, code) { return narrow[int64, R](civil.FloorDiv(us, civil.Second)) })
}

// fromSpan serves times of day and intervals.
func (c conv) fromSpan() expr.Kernel {
	switch {
	case c.to.ID() == arrow.STRING:
	case c.from.ID() == arrow.TIME64:
		return nil
	default:
		return c.fromInterval()
	}
	switch c.from.ID() {
	case arrow.TIME64:
		return plainText(func(dst []byte, us int64) []byte { return civil.AppendTime(dst, us) })
	case arrow.DURATION:
		return plainText(AppendDuration)
	default:
		return plainText(AppendMonths)
	}
}

// AppendDuration writes a day-time interval as Spark shows it.
func AppendDuration(dst []byte, us int64) []byte {
	dst = append(dst, "INTERVAL '"...)
	return append(civil.AppendDuration(dst, us), "' DAY TO SECOND"...)
}

// AppendMonths writes a year-month interval as Spark shows it.
func AppendMonths(dst []byte, m int32) []byte {
	dst = append(dst, "INTERVAL '"...)
	return append(civil.AppendMonths(dst, int64(m)), "' YEAR TO MONTH"...)
}

// scaleUnit converts a count of one time unit to microseconds.
func scaleUnit(v int64, unit arrow.TimeUnit) (int64, code) {
	var m int64
	switch unit {
	case arrow.Nanosecond:
		return civil.FloorDiv(v, 1000), ok
	case arrow.Microsecond:
		return v, ok
	case arrow.Millisecond:
		m = 1000
	default:
		m = civil.Second
	}
	if v > math.MaxInt64/m || v < math.MinInt64/m {
		return 0, overflow
	}
	return v * m, ok
}
