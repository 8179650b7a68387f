package functions

import (
	"math"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/civil"
	"github.com/sluice-stream/sluice/planner/expr/dec"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// madeTimes lists functions that build timestamps of parts, move them by units
// and count the units between two.
func madeTimes() []*Entry {
	es := []*Entry{
		fn("convert_timezone", "A wall clock of one zone (the session's if not given) as the wall clock of another.", "convert_timezone('Europe/Brussels', 'UTC', TIMESTAMP_NTZ'2021-12-06 00:00:00')", "2021-12-05 23:00:00",
			sig("string, string, timestamp_ntz -> timestamp_ntz", k3(convertZone)),
			sig("string, timestamp_ntz -> timestamp_ntz", vec.Map2(func(kc *expr.KernelContext) (vec.F2[string, int64, int64], error) {
				_, err := civil.Load(kc.Zone)
				return func(to string, us int64) (int64, error) { return convertZone(kc.Zone, to, us) }, err
			}))),
		fn("timestampadd", "A timestamp moved by a number of units.", "timestampadd('MONTH', 1, TIMESTAMP'2024-01-31 10:00:00')", "2024-02-29 10:00:00", addUnitSigs()...),
		fn("timestampdiff|timediff", "The whole units from the first timestamp to the second.", "timestampdiff('MONTH', TIMESTAMP'2024-01-31 10:00:00', TIMESTAMP'2024-03-31 10:00:00')", "2", diffUnitSigs()...),
		fn("try_to_date", "Like to_date, but NULL where the text cannot be read.", "try_to_date('foo', 'yyyy-MM-dd')", "NULL",
			sig("string -> date", castKernel(true)), sig("string, string -> date", tryKernel(patternDate))),
		fn("unix_nanos", "Nanoseconds from 1970 to a timestamp.", "unix_nanos(TIMESTAMP'2024-01-01 00:00:01')", "1704067201000000000",
			sigR("timestamp", always(expr.Decimal(21, 0)), k1(nanos)), sigR("timestamp_ntz", always(expr.Decimal(21, 0)), k1(nanos))).tight(),
	}
	return append(es, makeStamps()...)
}

func always(dt arrow.DataType) resultRule {
	return func(*Types) (arrow.DataType, error) { return dt, nil }
}

func nanos(us int64) (dec.Num, error) {
	v, _ := dec.MulScaled(dec.FromI64(us), dec.FromI64(1000), dec.Type{P: 19}, dec.Type{P: 4}, dec.Type{P: 23})
	return v, nil
}

func convertZone(from, to string, us int64) (int64, error) {
	a, err := civil.Load(from)
	if err != nil {
		return 0, batch.UserErrorf("%w", err)
	}
	b, err := civil.Load(to)
	if err != nil {
		return 0, batch.UserErrorf("%w", err)
	}
	return b.Local(a.Instant(us)), nil
}

// stampSpec is one of the make_timestamp functions.
type stampSpec struct {
	name, doc, ex, res string
	local, try         bool
}

func makeStamps() []*Entry {
	var es []*Entry
	for _, s := range []stampSpec{
		{name: "make_timestamp|make_timestamp_ltz", doc: "The timestamp of a year, month, day, hour, minute and second, or of a date and a time, in a zone (the session's if not given).",
			ex: "make_timestamp(2024, 2, 29, 12, 30, 1.5)", res: "2024-02-29 12:30:01.5"},
		{name: "make_timestamp_ntz", doc: "The timestamp without zone of a year, month, day, hour, minute and second, or of a date and a time.",
			ex: "make_timestamp_ntz(2024, 2, 29, 12, 30, 1.5)", res: "2024-02-29 12:30:01.5", local: true},
		{name: "try_make_timestamp|try_make_timestamp_ltz", doc: "Like make_timestamp, but NULL where there is no such time.", ex: "try_make_timestamp(2024, 13, 1, 0, 0, 0)", res: "NULL", try: true},
		{name: "try_make_timestamp_ntz", doc: "Like make_timestamp_ntz, but NULL where there is no such time.", ex: "try_make_timestamp_ntz(2024, 13, 1, 0, 0, 0)", res: "NULL", local: true, try: true},
	} {
		result := "timestamp"
		if s.local {
			result = "timestamp_ntz"
		}
		parts := "int, int, int, int, int, double"
		sigs := []Sig{sig(parts+" -> "+result, s.kernel(-1)), sig("date -> "+result, s.kernel(-1)), sig("date, time -> "+result, s.kernel(-1))}
		if !s.local {
			sigs = append(sigs, sig(parts+", string -> "+result, s.kernel(6)), sig("date, string -> "+result, s.kernel(1)), sig("date, time, string -> "+result, s.kernel(2)))
		}
		es = append(es, fn(s.name, s.doc, s.ex, s.res, sigs...))
	}
	return es
}

// kernel makes the kernel for a signature; zone is the argument that names one, or -1.
func (s stampSpec) kernel(zone int) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		session, err := civil.Load(kc.Zone)
		if err != nil {
			return nil, err
		}
		rest := args
		if zone >= 0 {
			rest = args[:zone]
		}
		clock := clockOf(rest)
		return perRowFixed(kc, args, n, func(i int) (int64, error) {
			z := session
			if zone >= 0 {
				name := vec.StringsOf(args[zone].Arr).Str(row(args[zone], i))
				var err error
				if z, err = civil.Load(name); err != nil {
					return 0, batch.UserErrorf("%w", err)
				}
			}
			local, err := clock(i)
			switch {
			case err != nil && s.try:
				return 0, vec.ErrNull
			case err != nil || s.local:
				return local, err
			}
			return z.Instant(local), nil
		})
	}
}

// clockOf reads the wall clock of a row from its parts.
func clockOf(args []expr.Vec) func(i int) (int64, error) {
	if len(args) < 3 {
		return func(i int) (int64, error) {
			us := timeValue(args[0], i) * civil.Day
			if len(args) == 2 {
				us += timeValue(args[1], i)
			}
			return us, nil
		}
	}
	ints := make([]vec.Col[int32], 5)
	for i := range ints {
		ints[i] = vec.Load[int32](args[i])
	}
	sec := vec.Load[float64](args[5])
	return func(i int) (int64, error) {
		d, err := makeDate(ints[0].At(i), ints[1].At(i), ints[2].At(i))
		if err != nil {
			return 0, err
		}
		h, m, s := ints[3].At(i), ints[4].At(i), sec.At(i)
		if h < 0 || h > 23 || m < 0 || m > 59 || !(s >= 0 && s <= 60) {
			return 0, batch.UserErrorf("[DATETIME_FIELD_OUT_OF_BOUNDS] there is no time %d:%d:%v; use the try_ function for NULL instead", h, m, s)
		}
		return int64(d)*civil.Day + int64(h)*civil.Hour + int64(m)*civil.Minute + int64(math.Round(s*1e6)), nil
	}
}

// timeUnits are the units of timestampadd and timestampdiff: months, or microseconds.
var timeUnits = map[string]struct{ months, micros int64 }{
	"YEAR": {months: 12}, "QUARTER": {months: 3}, "MONTH": {months: 1}, "WEEK": {micros: 7 * civil.Day}, "DAY": {micros: civil.Day},
	"DAYOFYEAR": {micros: civil.Day}, "HOUR": {micros: civil.Hour}, "MINUTE": {micros: civil.Minute}, "SECOND": {micros: civil.Second},
	"MILLISECOND": {micros: 1000}, "MICROSECOND": {micros: 1},
}

var errUnit = batch.UserErrorf("[INVALID_PARAMETER_VALUE] the unit must be YEAR, QUARTER, MONTH, WEEK, DAY, HOUR, MINUTE, SECOND, MILLISECOND or MICROSECOND")

func addUnitSigs() []Sig {
	add := func(local bool) expr.Kernel {
		return vec.Map3(func(kc *expr.KernelContext) (vec.F3[string, int64, int64, int64], error) {
			z, err := civil.Load(zoneUnless(local, kc.Zone))
			return func(unit string, n, us int64) (int64, error) { return addUnits(z, unit, n, us) }, err
		})
	}
	return []Sig{sig("string, bigint, timestamp -> timestamp", add(false)), sig("string, bigint, timestamp_ntz -> timestamp_ntz", add(true))}
}

func zoneUnless(local bool, zone string) string {
	if local {
		return "UTC"
	}
	return zone
}

func addUnits(z *civil.Zone, unit string, n, us int64) (int64, error) {
	u, ok := timeUnits[strings.ToUpper(unit)]
	if !ok {
		return 0, errUnit
	}
	if u.months > 0 {
		if n > math.MaxInt32/u.months || n < math.MinInt32/u.months {
			return 0, errTimeRange
		}
		return addMonthsTo(z, false, us, n*u.months), nil
	}
	if n > math.MaxInt64/u.micros || n < math.MinInt64/u.micros {
		return 0, errTimeRange
	}
	d := n * u.micros
	if u.micros >= civil.Day { // days move the wall clock
		return z.Instant(z.Local(us) + d), nil
	}
	if s := us + d; (s^us)&(s^d) >= 0 {
		return s, nil
	}
	return 0, errTimeRange
}

func diffUnitSigs() []Sig {
	diff := func(local bool) expr.Kernel {
		return vec.Map3(func(kc *expr.KernelContext) (vec.F3[string, int64, int64, int64], error) {
			z, err := civil.Load(zoneUnless(local, kc.Zone))
			return func(unit string, a, b int64) (int64, error) { return diffUnits(z, unit, a, b) }, err
		})
	}
	return []Sig{sig("string, timestamp, timestamp -> bigint", diff(false)), sig("string, timestamp_ntz, timestamp_ntz -> bigint", diff(true))}
}

// diffUnits counts whole units between two wall clocks.
func diffUnits(z *civil.Zone, unit string, a, b int64) (int64, error) {
	u, ok := timeUnits[strings.ToUpper(unit)]
	switch {
	case !ok:
		return 0, errUnit
	case u.months > 0:
		return wholeMonths(z.Local(a), z.Local(b)) / u.months, nil
	}
	return (z.Local(b) - z.Local(a)) / u.micros, nil
}

// wholeMonths counts the months between two wall clocks. A day that has not
// gone by yet does not count, so January 31 to March 1 at an earlier hour is none.
func wholeMonths(a, b int64) int64 {
	da, db := civil.FloorDiv(a, civil.Day), civil.FloorDiv(b, civil.Day)
	ta, tb := a-da*civil.Day, b-db*civil.Day
	switch {
	case db > da && tb < ta:
		db--
	case db < da && tb > ta:
		db++
	}
	ya, ma, day1 := civil.FromDays(da)
	yb, mb, day2 := civil.FromDays(db)
	return (int64((yb-ya)*12+mb-ma)*32 + int64(day2-day1)) / 32
}
