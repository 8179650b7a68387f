package functions

import (
	"math"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/civil"
	"github.com/sluice-stream/sluice/planner/expr/dec"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

func dates() []*Entry {
	es := []*Entry{
		fn("now|current_timestamp|localtimestamp|proctime", "The batch's time, the same for all its rows and when it runs again.", "now()", "2023-11-14 22:13:20",
			sig(" -> timestamp", constant(func(kc *expr.KernelContext) any { return kc.Now }))).safe().tight().stable(),
		fn("current_date|curdate", "The date of now() in the session's zone.", "current_date()", "2023-11-14", sig(" -> date", expr.Kernel(currentDate))).tight().stable(),
		fn("current_timezone", "The session's time zone.", "current_timezone()", "UTC", sig(" -> string", constant(func(kc *expr.KernelContext) any {
			if kc.Zone == "" {
				return "UTC"
			}
			return kc.Zone
		}))).safe().tight().stable(),
		fn("current_watermark", "The watermark in force, NULL before there is one.", "current_watermark()", "2023-11-14 22:12:20",
			sig(" -> timestamp", constant(func(kc *expr.KernelContext) any {
				if kc.Watermark == math.MinInt64 {
					return nil
				}
				return kc.Watermark
			}))).safe().stable(),
		fn("date_add|dateadd|adddate", "A date some days later; or a timestamp moved by a number of units (unit, number, timestamp).", "date_add('2024-02-28', 2)", "2024-03-01",
			append(addUnitSigs(), sig("date, int -> date", k2(func(d, n int32) (int32, error) { return addDays(int64(d), int64(n), false) })))...).tight(),
		fn("date_sub|subdate", "A date some days earlier.", "date_sub('2024-03-01', 1)", "2024-02-29",
			sig("date, int -> date", k2(func(d, n int32) (int32, error) { return addDays(int64(d), int64(n), true) }))).tight(),
		fn("datediff|date_diff", "The days from the second date to the first; or the whole units from a timestamp to a later one (unit, from, to).", "datediff('2024-03-01', '2024-02-28')", "2",
			append(diffUnitSigs(), sig("date, date -> int", p2(func(a, b int32) int32 { return a - b })))...).tight(),
		fn("add_months", "A date some months later; the day is cut to the month's last.", "add_months('2024-01-31', 1)", "2024-02-29",
			sig("date, int -> date", k2(func(d, n int32) (int32, error) { return addDays(civil.AddMonths(int64(d), int64(n)), 0, false) }))).tight(),
		fn("months_between", "The months between two timestamps; whole if both are on the same day of the month or on the last.", "months_between('1997-02-28 10:30:00', '1996-10-30')", "3.94959677",
			sig("timestamp, timestamp, boolean = true -> double", vec.Map3(func(kc *expr.KernelContext) (vec.F3[int64, int64, bool, float64], error) {
				z, err := civil.Load(kc.Zone)
				return func(a, b int64, round bool) (float64, error) {
					return monthsBetween(z.Local(a), z.Local(b), round), nil
				}, err
			}))).tight(),
		fn("last_day", "The last day of a date's month.", "last_day('2024-02-10')", "2024-02-29", sig("date -> date", p1(func(d int32) int32 {
			y, m, _ := civil.FromDays(int64(d))
			return int32(civil.ToDays(y, m, civil.DaysIn(y, m)))
		}))).tight(),
		fn("next_day", "The first date after a date that is the named day of the week.", "next_day('2024-01-01', 'TU')", "2024-01-02", sig("date, string -> date", k2(nextDay))),
	}
	es = append(es, dateParts()...)
	es = append(es, fields()...)
	return slices.Concat(es, epochs(), madeTimes(), times())
}

// dateParts lists what builds dates of parts and cuts them to units.
func dateParts() []*Entry {
	return []*Entry{
		fn("make_date", "The date of a year, month and day.", "make_date(2024, 2, 29)", "2024-02-29", sig("int, int, int -> date", k3(makeDate))),
		fn("make_interval_days|make_dt_interval", "The interval of days, hours, minutes and seconds.", "make_dt_interval(1, 2, 3, 4.5)", "INTERVAL '1 02:03:04.5' DAY TO SECOND",
			sig("int = 0, int = 0, int = 0, double = 0.0 -> duration", k4(func(d, h, m int32, s float64) (int64, error) {
				return int64(d)*civil.Day + int64(h)*civil.Hour + int64(m)*civil.Minute + int64(math.Round(s*1e6)), nil
			}))),
		fn("make_ym_interval", "The interval of years and months.", "make_ym_interval(1, 2)", "INTERVAL '1-2' YEAR TO MONTH",
			sig("int = 0, int = 0 -> months", k2(func(y, m int32) (int32, error) {
				v := int64(y)*12 + int64(m)
				if v != int64(int32(v)) {
					return 0, errTimeRange
				}
				return int32(v), nil
			}))),
		fn("date_trunc", "A timestamp cut to a unit: YEAR, QUARTER, MONTH, WEEK, DAY, HOUR, MINUTE, SECOND, MILLISECOND, MICROSECOND.", "date_trunc('MONTH', TIMESTAMP'2024-02-29 12:30:00')", "2024-02-01 00:00:00",
			sig("string, timestamp -> timestamp", dateTrunc(z2(func(z *civil.Zone, unit string, us int64) (int64, error) {
				v, ok := truncate(unit, z.Local(us))
				if !ok {
					return 0, vec.ErrNull
				}
				return z.Instant(v), nil
			}), true)),
			sig("string, timestamp_ntz -> timestamp_ntz", dateTrunc(k2(func(unit string, us int64) (int64, error) {
				v, ok := truncate(unit, us)
				if !ok {
					return 0, vec.ErrNull
				}
				return v, nil
			}), false))),
		fn("trunc", "A date cut to a unit: YEAR, QUARTER, MONTH or WEEK.", "trunc('2024-05-17', 'QUARTER')", "2024-04-01", sig("date, string -> date", k2(truncDate))),
		special("date_part|datepart|extract", "date_part(string, timestamp) -> int", "A field of a date, timestamp or interval: YEAR, YEAROFWEEK, QUARTER, MONTH, WEEK, DAY, DAYOFWEEK, DAYOFWEEK_ISO, DOY, HOUR, MINUTE, SECOND, EPOCH.",
			"extract(HOUR FROM TIMESTAMP'2024-02-29 12:30:00')", "12", bindPart),
		fn("time_bucket|date_bin", "The start of the bucket of a size that a timestamp falls into, counted from 1970 (or an origin).", "time_bucket(INTERVAL '15' MINUTE, TIMESTAMP'2024-01-01 10:22:00')", "2024-01-01 10:15:00",
			sig("duration, timestamp -> timestamp", k2(func(size, us int64) (int64, error) { return bucket(size, us, 0) })),
			sig("duration, timestamp, timestamp -> timestamp", k3(bucket)),
			sig("months, timestamp -> timestamp", z2(func(z *civil.Zone, size int32, us int64) (int64, error) { return monthBucket(z, size, us, 0) })),
			sig("months, timestamp, timestamp -> timestamp", vec.Map3(func(kc *expr.KernelContext) (vec.F3[int32, int64, int64, int64], error) {
				z, err := civil.Load(kc.Zone)
				return func(size int32, us, origin int64) (int64, error) { return monthBucket(z, size, us, origin) }, err
			}))),
	}
}

func currentDate(kc *expr.KernelContext, _ []expr.Vec, n int) (arrow.Array, error) {
	z, err := civil.Load(kc.Zone)
	if err != nil {
		return nil, err
	}
	buf, out := vec.NewFixed[int32](kc.Alloc, n)
	for i := range out {
		out[i] = int32(civil.FloorDiv(z.Local(kc.Now), civil.Day))
	}
	return vec.NewMask(kc.Alloc, n).Array(kc.Result, buf), nil
}

func bucket(size, us, origin int64) (int64, error) {
	if size <= 0 {
		return 0, batch.UserErrorf("the size of a bucket must be positive")
	}
	return us - civil.FloorMod(us-origin, size), nil
}

// monthBucket counts buckets of months on the wall clock.
func monthBucket(z *civil.Zone, size int32, us, origin int64) (int64, error) {
	if size <= 0 {
		return 0, batch.UserErrorf("the size of a bucket must be positive")
	}
	n := civil.FloorDiv(wholeMonths(z.Local(origin), z.Local(us)), int64(size))
	start := addMonthsTo(z, false, origin, n*int64(size))
	for start > us { // the months are cut towards the origin
		n--
		start = addMonthsTo(z, false, origin, n*int64(size))
	}
	return start, nil
}

func monthsBetween(a, b int64, round bool) float64 {
	da, db := civil.FloorDiv(a, civil.Day), civil.FloorDiv(b, civil.Day)
	ya, ma, day1 := civil.FromDays(da)
	yb, mb, day2 := civil.FromDays(db)
	months := float64((ya-yb)*12 + ma - mb)
	if day1 == day2 || day1 == civil.DaysIn(ya, ma) && day2 == civil.DaysIn(yb, mb) {
		return months
	}
	sec := float64(day1-day2)*86400 + float64((a-da*civil.Day)/civil.Second-(b-db*civil.Day)/civil.Second)
	diff := months + sec/(31*86400)
	if round {
		return roundFloat(diff, 8, false)
	}
	return diff
}

func nextDay(d int32, name string) (int32, error) {
	w := -1
	for i, full := range []string{"MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"} {
		if u := strings.ToUpper(strings.TrimSpace(name)); u == full || u == full[:3] || u == full[:2] {
			w = i
		}
	}
	if w < 0 {
		return 0, batch.UserErrorf("[ILLEGAL_DAY_OF_WEEK] '%s' is no day of the week", name)
	}
	ahead := (w - civil.Weekday(int64(d)) + 7) % 7
	if ahead == 0 {
		ahead = 7
	}
	return d + int32(ahead), nil
}

func makeDate(y, m, d int32) (int32, error) {
	if y < -9999999 || y > 9999999 || !civil.Valid(int(y), int(m), int(d)) {
		return 0, batch.UserErrorf("[DATETIME_FIELD_OUT_OF_BOUNDS] there is no date %d-%d-%d", y, m, d)
	}
	return addDays(civil.ToDays(int(y), int(m), int(d)), 0, false)
}

// truncate cuts a wall clock to a unit.
func truncate(unit string, local int64) (int64, bool) {
	floor := func(size int64) (int64, bool) { return local - civil.FloorMod(local, size), true }
	switch strings.ToUpper(unit) {
	case "MICROSECOND":
		return local, true
	case "MILLISECOND":
		return floor(1000)
	case "SECOND":
		return floor(civil.Second)
	case "MINUTE":
		return floor(civil.Minute)
	case "HOUR":
		return floor(civil.Hour)
	case "DAY", "DD":
		return floor(civil.Day)
	}
	d, ok := truncDays(unit, civil.FloorDiv(local, civil.Day))
	return d * civil.Day, ok
}

func truncDays(unit string, days int64) (int64, bool) {
	y, m, _ := civil.FromDays(days)
	switch strings.ToUpper(unit) {
	case "YEAR", "YYYY", "YY":
		return civil.ToDays(y, 1, 1), true
	case "QUARTER":
		return civil.ToDays(y, (m-1)/3*3+1, 1), true
	case "MONTH", "MM", "MON":
		return civil.ToDays(y, m, 1), true
	case "WEEK":
		return days - int64(civil.Weekday(days)), true
	}
	return 0, false
}

func truncDate(d int32, unit string) (int32, error) {
	v, ok := truncDays(unit, int64(d))
	if !ok {
		return 0, vec.ErrNull
	}
	return int32(v), nil
}

// dateField makes an entry for a number read off a date.
func dateField(names, doc, ex, res string, f func(days int64) int32) *Entry {
	return fn(names, doc, ex, res, sig("date -> int", p1(func(d int32) int32 { return f(int64(d)) }))).tight()
}

// clockField makes an entry for a number read off the time of day.
func clockField(names, doc, ex, res string, f func(us int64) int32) *Entry {
	return fn(names, doc, ex, res,
		sig("timestamp -> int", z1(func(z *civil.Zone, us int64) (int32, error) { return f(civil.FloorMod(z.Local(us), civil.Day)), nil })),
		sig("timestamp_ntz -> int", p1(func(us int64) int32 { return f(civil.FloorMod(us, civil.Day)) })), sig("time -> int", p1(f))).tight()
}

func yearOf(d int64) int32    { y, _, _ := civil.FromDays(d); return int32(y) }
func monthOf(d int64) int32   { _, m, _ := civil.FromDays(d); return int32(m) }
func dayOf(d int64) int32     { _, _, x := civil.FromDays(d); return int32(x) }
func quarterOf(d int64) int32 { return (monthOf(d)-1)/3 + 1 }
func weekOf(d int64) int32    { _, w := civil.ISOWeek(d); return int32(w) }
func sunday1(d int64) int32   { return int32((civil.Weekday(d)+1)%7) + 1 }

func fields() []*Entry {
	return []*Entry{
		dateField("year", "The year.", "year('2024-02-29')", "2024", yearOf),
		dateField("quarter", "The quarter, 1 to 4.", "quarter('2024-02-29')", "1", quarterOf),
		dateField("month", "The month, 1 to 12.", "month('2024-02-29')", "2", monthOf),
		dateField("day|dayofmonth", "The day of the month.", "day('2024-02-29')", "29", dayOf),
		dateField("dayofweek", "The day of the week, 1 for Sunday to 7 for Saturday.", "dayofweek('2024-02-29')", "5", sunday1),
		dateField("weekday", "The day of the week, 0 for Monday to 6 for Sunday.", "weekday('2024-02-29')", "3", func(d int64) int32 { return int32(civil.Weekday(d)) }),
		dateField("dayofyear", "The day of the year.", "dayofyear('2024-02-29')", "60", func(d int64) int32 { return int32(civil.YearDay(d)) }),
		dateField("weekofyear|week", "The ISO week of the year.", "weekofyear('2024-02-29')", "9", weekOf),
		fn("dayname", "The day of the week's short name.", "dayname('2024-02-29')", "Thu", sig("date -> string", p1(func(d int32) string { return weekdays[civil.Weekday(int64(d))][:3] }))).tight(),
		fn("monthname", "The month's short name.", "monthname('2024-02-29')", "Feb", sig("date -> string", p1(func(d int32) string { return months[monthOf(int64(d))-1][:3] }))).tight(),
		clockField("hour", "The hour.", "hour(TIMESTAMP'2024-02-29 12:30:45')", "12", func(us int64) int32 { return int32(us / civil.Hour) }),
		clockField("minute", "The minute.", "minute(TIMESTAMP'2024-02-29 12:30:45')", "30", func(us int64) int32 { return int32(us / civil.Minute % 60) }),
		clockField("second", "The second.", "second(TIMESTAMP'2024-02-29 12:30:45')", "45", func(us int64) int32 { return int32(us / civil.Second % 60) }),
	}
}

// bindPart turns a field's name into the function of that field.
func bindPart(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) != 2 {
		return nil, e.mismatch(args)
	}
	l, ok := args[0].(*expr.Literal)
	name, is := "", false
	if ok {
		name, is = l.Value.(string)
	}
	if !is {
		return nil, batch.UserErrorf("%s: the field must be a constant string", e.Name())
	}
	field := strings.ToUpper(name)
	if id := args[1].Type().ID(); id == arrow.DURATION || id == arrow.INTERVAL_MONTHS {
		return intervalPart(e, field, args)
	}
	if f := partNames[field]; args[1].Type().ID() == arrow.TIME64 && f != "hour" && f != "minute" && !strings.HasPrefix(field, "S") {
		return nil, batch.UserErrorf("[INVALID_EXTRACT_FIELD] %s has no field %s", expr.TypeName(args[1].Type()), field)
	}
	switch field {
	case "SECOND", "S", "SEC", "SECONDS", "SECS":
		if args[1].Type().ID() == arrow.TIME64 {
			k := p1(func(us int64) dec.Num { return dec.FromI64(us % civil.Minute) })
			return e.newCall(second(k), args, expr.Decimal(8, 6)), nil
		}
		src := coerce(args[1], expr.TypeTimestamp)
		k := z1(func(z *civil.Zone, us int64) (dec.Num, error) {
			return dec.FromI64(civil.FloorMod(z.Local(us), civil.Minute)), nil
		})
		return e.newCall(second(k), []expr.Expr{args[0], src}, expr.Decimal(8, 6)), nil
	case "EPOCH":
		k := k1(func(us int64) (dec.Num, error) { return dec.FromI64(us), nil })
		return e.newCall(second(k), []expr.Expr{args[0], coerce(args[1], expr.TypeTimestamp)}, expr.Decimal(20, 6)), nil
	case "YEAROFWEEK":
		k := p1(func(d int32) int32 { y, _ := civil.ISOWeek(int64(d)); return int32(y) })
		return e.newCall(second(k), []expr.Expr{args[0], coerce(args[1], expr.TypeDate)}, expr.TypeInt32), nil
	case "DAYOFWEEK_ISO", "DOW_ISO":
		w, err := Scalar("weekday", args[1:])
		if err != nil {
			return nil, err
		}
		return Scalar("+", []expr.Expr{w, &expr.Literal{Value: int64(1), DT: expr.TypeInt32}})
	}
	if f, ok := partNames[field]; ok {
		return Scalar(f, args[1:])
	}
	return nil, batch.UserErrorf("[INVALID_EXTRACT_FIELD] %s has no field %s", expr.TypeName(args[1].Type()), field)
}

var partNames = map[string]string{
	"YEAR": "year", "Y": "year", "YEARS": "year", "YR": "year", "YRS": "year", "QUARTER": "quarter", "QTR": "quarter",
	"MONTH": "month", "MON": "month", "MONS": "month", "MONTHS": "month", "WEEK": "weekofyear", "W": "weekofyear", "WEEKS": "weekofyear",
	"DAY": "day", "D": "day", "DAYS": "day", "DAYOFWEEK": "dayofweek", "DOW": "dayofweek", "DOY": "dayofyear", "DAYOFYEAR": "dayofyear",
	"HOUR": "hour", "H": "hour", "HOURS": "hour", "HR": "hour", "HRS": "hour", "MINUTE": "minute", "M": "minute", "MIN": "minute", "MINS": "minute", "MINUTES": "minute",
}

// second makes a kernel of the second argument of one of a single argument. The
// field's name stays in the call, so that the call can be bound again from its arguments.
func second(k expr.Kernel) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) { return k(kc, args[1:], n) }
}

func intervalPart(e *Entry, field string, args []expr.Expr) (expr.Expr, error) {
	a := args[1]
	var k expr.Kernel
	dt := arrow.DataType(expr.TypeInt32)
	if a.Type().ID() == arrow.INTERVAL_MONTHS {
		switch field {
		case "YEAR", "YEARS":
			k = p1(func(m int32) int32 { return m / 12 })
		case "MONTH", "MONTHS":
			dt, k = expr.TypeInt8, p1(func(m int32) int8 { return int8(m % 12) })
		}
	} else {
		switch field {
		case "DAY", "DAYS":
			k = p1(func(us int64) int32 { return int32(us / civil.Day) })
		case "HOUR", "HOURS":
			dt, k = expr.TypeInt8, p1(func(us int64) int8 { return int8(us / civil.Hour % 24) })
		case "MINUTE", "MINUTES":
			dt, k = expr.TypeInt8, p1(func(us int64) int8 { return int8(us / civil.Minute % 60) })
		case "SECOND", "SECONDS":
			dt = expr.Decimal(8, 6)
			k = p1(func(us int64) dec.Num { return dec.FromI64(us % civil.Minute) })
		case "EPOCH":
			dt = expr.Decimal(20, 6)
			k = p1(func(us int64) dec.Num { return dec.FromI64(us) })
		}
	}
	if k == nil {
		return nil, batch.UserErrorf("[INVALID_EXTRACT_FIELD] %s has no field %s", expr.TypeName(a.Type()), field)
	}
	return e.newCall(second(k), []expr.Expr{args[0], a}, dt), nil
}
