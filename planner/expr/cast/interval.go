package cast

import (
	"math"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/civil"
	"github.com/sluice-stream/sluice/planner/expr/dec"
)

// intToInterval makes months or seconds of a number.
func intToInterval[A integer](c conv) expr.Kernel {
	if c.to.ID() == arrow.INTERVAL_MONTHS {
		return plain(c, showInt[A], narrow[A, int32])
	}
	return plain(c, showInt[A], func(a A) (int64, code) {
		v := int64(a)
		if v > math.MaxInt64/civil.Second || v < math.MinInt64/civil.Second {
			return 0, overflow
		}
		return v * civil.Second, ok
	})
}

// decimalToInterval makes months, rounded, or seconds with their fraction.
func decimalToInterval(c conv) expr.Kernel {
	from, _ := dec.Of(c.from)
	show := func(v dec.Num) string { return string(dec.Append(nil, v, from.S)) }
	whole := func(v dec.Num, scale int32) (int64, code) {
		r, fits := dec.Rescale(v, from.S, scale, dec.MaxPrecision)
		n, in := dec.Int(r, 0)
		return n, overIf(!fits || !in)
	}
	if c.to.ID() == arrow.INTERVAL_MONTHS {
		return plain(c, show, func(v dec.Num) (int32, code) {
			n, why := whole(v, 0)
			if why != ok {
				return 0, why
			}
			return narrow[int64, int32](n)
		})
	}
	return plain(c, show, func(v dec.Num) (int64, code) { return whole(v, 6) })
}

// fromInterval gives months, or seconds without their fraction but for decimals.
func (c conv) fromInterval() expr.Kernel {
	switch c.to.ID() {
	case arrow.INT8:
		return intervalInt[int8](c)
	case arrow.INT16:
		return intervalInt[int16](c)
	case arrow.INT32:
		return intervalInt[int32](c)
	case arrow.INT64:
		return intervalInt[int64](c)
	case arrow.DECIMAL128:
		t, _ := dec.Of(c.to)
		if c.from.ID() == arrow.INTERVAL_MONTHS {
			return plain(c, showInt[int32], func(m int32) (dec.Num, code) {
				v, fits := dec.FromInt(int64(m), t)
				return v, overIf(!fits)
			})
		}
		return plain(c, showInt[int64], func(us int64) (dec.Num, code) {
			v, fits := dec.Rescale(decimal128.FromI64(us), 6, t.S, t.P)
			return v, overIf(!fits)
		})
	}
	return nil
}

func intervalInt[R integer](c conv) expr.Kernel {
	if c.from.ID() == arrow.INTERVAL_MONTHS {
		return plain(c, showInt[int32], narrow[int32, R])
	}
	return plain(c, showInt[int64], func(us int64) (R, code) { return narrow[int64, R](us / civil.Second) })
}

// bareNumber reports whether a text is a number alone, which names no field of
// an interval and so is none.
func bareNumber(s string) bool {
	s = strings.TrimLeft(strings.TrimSpace(s), "+-")
	return s != "" && strings.Trim(s, "0123456789.") == ""
}
