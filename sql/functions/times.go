package functions

import (
	"math"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/civil"
	"github.com/sluice-stream/sluice/planner/expr/dec"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// times lists functions over the type TIME, a time of day in microseconds.
func times() []*Entry {
	scaledTime := func(unit int64) expr.Kernel {
		return k1(func(n int64) (int64, error) {
			if n < 0 || n >= civil.Day/unit {
				return 0, errNoTime
			}
			return n * unit, nil
		})
	}
	return []*Entry{
		fn("current_time|localtime", "The time of day of now() in the session's zone, with a number of fraction digits (6 if not given).", "current_time()", "22:13:20",
			sig("int = 6 -> time", vec.Map1(func(kc *expr.KernelContext) (vec.F1[int32, int64], error) {
				z, err := civil.Load(kc.Zone)
				return func(digits int32) (int64, error) {
					if digits < 0 || digits > 6 {
						return 0, batch.UserErrorf("the number of fraction digits must be within 0..6, not %d", digits)
					}
					us := civil.FloorMod(z.Local(kc.Now), civil.Day)
					return us - us%int64(math.Pow10(6-int(digits))), nil
				}, err
			}))).stable(),
		fn("make_time", "The time of an hour, minute and second.", "make_time(6, 30, 45.887)", "06:30:45.887", sig("int, int, double -> time", k3(makeTime))),
		fn("to_time", "The time that a text stands for, read with a pattern if one is given.", "to_time('12.10.05', 'HH.mm.ss')", "12:10:05",
			sig("string -> time", castKernel(false)), sig("string, string -> time", patternTime)),
		fn("try_to_time", "Like to_time, but NULL where the text cannot be read.", "try_to_time('foo', 'HH:mm:ss')", "NULL",
			sig("string -> time", castKernel(true)), sig("string, string -> time", tryKernel(patternTime))),
		fn("time_trunc", "A time cut to a unit: HOUR, MINUTE, SECOND, MILLISECOND or MICROSECOND.", "time_trunc('HOUR', CAST('09:32:05.359' AS TIME))", "09:00:00",
			sig("string, time -> time", k2(func(unit string, us int64) (int64, error) {
				size, err := clockUnit(unit)
				return us - us%max(size, 1), err
			}))),
		fn("time_diff", "The whole units from the first time to the second.", "time_diff('HOUR', CAST('20:30:29' AS TIME), CAST('12:00:00' AS TIME))", "-8",
			sig("string, time, time -> bigint", k3(func(unit string, a, b int64) (int64, error) {
				size, err := clockUnit(unit)
				return (b - a) / max(size, 1), err
			}))),
		fn("time_from_seconds", "The time some seconds after midnight.", "time_from_seconds(52200.5)", "14:30:00.5", sig("decimal -> time", timeOfSeconds), sig("double -> time", k1(func(f float64) (int64, error) {
			if !(f >= 0 && f < 86400) {
				return 0, errNoTime
			}
			return int64(math.Round(f * 1e6)), nil
		}))),
		fn("time_from_millis", "The time some milliseconds after midnight.", "time_from_millis(52200500)", "14:30:00.5", sig("bigint -> time", scaledTime(1000))),
		fn("time_from_micros", "The time some microseconds after midnight.", "time_from_micros(52200500000)", "14:30:00.5", sig("bigint -> time", scaledTime(1))),
		fn("time_to_seconds", "Seconds from midnight to a time.", "time_to_seconds(CAST('14:30:00.5' AS TIME))", "52200.500000",
			sigR("time", always(expr.Decimal(14, 6)), k1(func(us int64) (dec.Num, error) { return dec.FromI64(us), nil }))).tight(),
		fn("time_to_millis", "Milliseconds from midnight to a time.", "time_to_millis(CAST('14:30:00.5' AS TIME))", "52200500", sig("time -> bigint", p1(func(us int64) int64 { return us / 1000 }))).tight(),
		fn("time_to_micros", "Microseconds from midnight to a time.", "time_to_micros(CAST('14:30:00.5' AS TIME))", "52200500000", sig("time -> bigint", p1(func(us int64) int64 { return us }))).tight(),
	}
}

var errNoTime = batch.UserErrorf("[DATETIME_FIELD_OUT_OF_BOUNDS] a time of day is within 00:00:00 and 23:59:59.999999")

func makeTime(h, m int32, s float64) (int64, error) {
	if h < 0 || h > 23 || m < 0 || m > 59 || !(s >= 0 && s < 60) {
		return 0, batch.UserErrorf("[DATETIME_FIELD_OUT_OF_BOUNDS] there is no time %d:%d:%v", h, m, s)
	}
	return int64(h)*civil.Hour + int64(m)*civil.Minute + int64(math.Round(s*1e6)), nil
}

func timeOfSeconds(t *Types) expr.Kernel {
	x, _ := dec.Of(t.Args[0])
	return k1(func(v dec.Num) (int64, error) {
		r, ok := dec.Rescale(v, x.S, 6, 38)
		us, in := dec.Int(r, 0)
		if !ok || !in || us < 0 || us >= civil.Day {
			return 0, errNoTime
		}
		return us, nil
	})
}

func clockUnit(unit string) (int64, error) {
	u, ok := timeUnits[strings.ToUpper(unit)]
	if !ok || u.micros == 0 || u.micros > civil.Hour {
		return 0, batch.UserErrorf("[INVALID_PARAMETER_VALUE] the unit of a time must be HOUR, MINUTE, SECOND, MILLISECOND or MICROSECOND, not %s", unit)
	}
	return u.micros, nil
}

// patternTime and patternDate read a text with a pattern.
var (
	patternTime = vec.Map2(func(*expr.KernelContext) (vec.F2[string, string, int64], error) {
		var c patternCache
		return func(s, p string) (int64, error) {
			f, err := c.get(p)
			if err != nil {
				return 0, err
			}
			local, _, err := f.parse(s)
			return civil.FloorMod(local, civil.Day), err
		}, nil
	})
	patternDate = vec.Map2(func(*expr.KernelContext) (vec.F2[string, string, int32], error) {
		var c patternCache
		return func(s, p string) (int32, error) {
			f, err := c.get(p)
			if err != nil {
				return 0, err
			}
			local, _, err := f.parse(s)
			return int32(civil.FloorDiv(local, civil.Day)), err
		}, nil
	})
)

// moveTime adds an interval to a time of day; past midnight is an error.
func moveTime(minus bool) expr.Kernel {
	return k2(func(us, d int64) (int64, error) {
		r := us + signed(d, minus)
		if d > civil.Day || d < -civil.Day || r < 0 || r >= civil.Day {
			return 0, batch.UserErrorf("[DATETIME_OVERFLOW] a time of day moved by an interval must stay within the day; use the try_ function for NULL instead")
		}
		return r, nil
	})
}
