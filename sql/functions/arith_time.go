package functions

import (
	"math"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/civil"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

func isTemporal(dt arrow.DataType) bool {
	return isInstant(dt) || dt.ID() == arrow.TIME64 || dt.ID() == arrow.DURATION || dt.ID() == arrow.INTERVAL_MONTHS
}

var errTimeRange = batch.UserErrorf("[DATETIME_OVERFLOW] the date or time is out of range")

// bindTemporal binds + - * / where a date, timestamp or interval takes part.
func bindTemporal(e *Entry, l, r expr.Expr, try bool) (expr.Expr, error) {
	sym := e.Names[0]
	l, r = instantStrings(l, r)
	if sym == "+" && (isInstant(r.Type()) && !isInstant(l.Type()) || r.Type().ID() == arrow.TIME64 && l.Type().ID() == arrow.DURATION) {
		l, r = r, l
	}
	if sym == "*" && isTemporal(r.Type()) {
		l, r = r, l
	}
	lt, rt := l.Type(), r.Type()
	switch {
	case lt.ID() == arrow.NULL:
		return bindTemporal(e, expr.NullOf(rt), r, try)
	case rt.ID() == arrow.NULL && isInstant(lt):
		return bindTemporal(e, l, expr.NullOf(expr.TypeDuration), try)
	case rt.ID() == arrow.NULL:
		return bindTemporal(e, l, expr.NullOf(lt), try)
	case sym == "+" || sym == "-":
		return addTemporal(e, l, r, sym == "-", try)
	case (sym == "*" || sym == "/") && isNumeric(rt) && !isInstant(lt) && lt.ID() != arrow.TIME64:
		c := scaleInterval(e, l, coerce(r, expr.TypeDouble), sym == "/")
		if call, ok := c.(*expr.Call); ok && try {
			call.Func.Kernel = tryKernel(call.Func.Kernel)
		}
		return c, nil
	case sym == "div" && lt.ID() == rt.ID() && !isInstant(lt) && lt.ID() != arrow.TIME64:
		return e.newCall(divideIntervals, []expr.Expr{l, r}, expr.TypeInt64), nil
	}
	return nil, e.mismatch([]expr.Expr{l, r})
}

// instantStrings reads a string beside a date, timestamp or interval.
func instantStrings(l, r expr.Expr) (expr.Expr, expr.Expr) {
	if l.Type().ID() == arrow.STRING {
		if isInstant(r.Type()) {
			return coerce(l, r.Type()), r
		}
		return coerce(l, expr.TypeTimestamp), r
	}
	if r.Type().ID() == arrow.STRING && isInstant(l.Type()) {
		return l, coerce(r, l.Type())
	}
	return l, r
}

func addTemporal(e *Entry, l, r expr.Expr, minus, try bool) (expr.Expr, error) {
	lt, rt := l.Type(), r.Type()
	switch {
	case isInstant(lt) && isInstant(rt):
		if !minus {
			break
		}
		return subtractInstants(e, l, r), nil
	case lt.ID() == arrow.DATE32 && isInt(rt):
		k := k2(func(d, n int32) (int32, error) { return addDays(int64(d), int64(n), minus) })
		return e.newCall(k, []expr.Expr{l, coerce(r, expr.TypeInt32)}, lt), nil
	case lt.ID() == arrow.DATE32 && rt.ID() == arrow.INTERVAL_MONTHS:
		k := k2(func(d, n int32) (int32, error) {
			return addDays(civil.AddMonths(int64(d), signed(int64(n), minus)), 0, false)
		})
		return e.newCall(k, []expr.Expr{l, r}, lt), nil
	case lt.ID() == arrow.DATE32 && rt.ID() == arrow.DURATION:
		if lit, ok := r.(*expr.Literal); ok && (lit.Value == nil || lit.Value.(int64)%civil.Day == 0) {
			k := k2(func(d int32, us int64) (int32, error) { return addDays(int64(d), us/civil.Day, minus) })
			return e.newCall(k, []expr.Expr{l, r}, lt), nil
		}
		return addTemporal(e, coerce(l, expr.TypeTimestamp), r, minus, try)
	case lt.ID() == arrow.TIME64 && rt.ID() == arrow.DURATION:
		k := moveTime(minus)
		if try {
			k = tryKernel(k)
		}
		return e.newCall(k, []expr.Expr{l, r}, lt), nil
	case lt.ID() == arrow.TIME64 && rt.ID() == arrow.TIME64 && minus:
		return e.newCall(arithKernel("-", expr.TypeInt64, false), []expr.Expr{l, r}, expr.TypeDuration), nil
	case lt.ID() == arrow.TIMESTAMP && (rt.ID() == arrow.DURATION || rt.ID() == arrow.INTERVAL_MONTHS):
		return e.newCall(moveStamp(lt, rt, minus), []expr.Expr{l, r}, lt), nil
	case lt.ID() == rt.ID() && lt.ID() == arrow.DURATION:
		return e.newCall(arithKernel(e.Names[0], expr.TypeInt64, try), []expr.Expr{l, r}, lt), nil
	case lt.ID() == rt.ID() && lt.ID() == arrow.INTERVAL_MONTHS:
		return e.newCall(arithKernel(e.Names[0], expr.TypeInt32, try), []expr.Expr{l, r}, lt), nil
	}
	return nil, e.mismatch([]expr.Expr{l, r})
}

func signed(n int64, minus bool) int64 {
	if minus {
		return -n
	}
	return n
}

func addDays(d, n int64, minus bool) (int32, error) {
	r := d + signed(n, minus)
	if r != int64(int32(r)) {
		return 0, errTimeRange
	}
	return int32(r), nil
}

// subtractInstants gives the interval between two dates or timestamps.
func subtractInstants(e *Entry, l, r expr.Expr) expr.Expr {
	if l.Type().ID() == arrow.DATE32 && r.Type().ID() == arrow.DATE32 {
		k := k2(func(a, b int32) (int64, error) { return (int64(a) - int64(b)) * civil.Day, nil })
		return e.newCall(k, []expr.Expr{l, r}, expr.TypeDuration)
	}
	ct := commonInstant(l.Type(), r.Type())
	for _, t := range []arrow.DataType{l.Type(), r.Type()} {
		if ts, ok := t.(*arrow.TimestampType); ok && ts.TimeZone == "" {
			ct = expr.TypeLocalTime
		}
	}
	args := []expr.Expr{coerce(l, ct), coerce(r, ct)}
	if ct.(*arrow.TimestampType).TimeZone == "" {
		return e.newCall(arithKernel("-", expr.TypeInt64, false), args, expr.TypeDuration)
	}
	// As in Spark, the interval is the one between the wall clocks.
	minus := arithKernel("-", expr.TypeInt64, false)
	moved := z2(func(z *civil.Zone, a, b int64) (int64, error) { return z.Local(a) - z.Local(b), nil })
	return e.newCall(func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		if z, err := civil.Load(kc.Zone); err == nil && z.UTC() {
			return minus(kc, args, n)
		}
		return moved(kc, args, n)
	}, args, expr.TypeDuration)
}

// moveStamp adds an interval to timestamps. Days and months move the wall
// clock of the session's zone; what is less than a day is elapsed time.
func moveStamp(lt, rt arrow.DataType, minus bool) expr.Kernel {
	local := lt.(*arrow.TimestampType).TimeZone == ""
	if rt.ID() == arrow.INTERVAL_MONTHS {
		return z2(func(z *civil.Zone, us int64, n int32) (int64, error) {
			return addMonthsTo(z, local, us, signed(int64(n), minus)), nil
		})
	}
	return z2(func(z *civil.Zone, us, d int64) (int64, error) {
		if minus {
			d = -d
		}
		if local || z.UTC() || d%civil.Day == d {
			s := us + d
			if (s^us)&(s^d) < 0 {
				return 0, errTimeRange
			}
			return s, nil
		}
		days := d / civil.Day
		return z.Instant(z.Local(us)+days*civil.Day) + d%civil.Day, nil
	})
}

func addMonthsTo(z *civil.Zone, local bool, us, months int64) int64 {
	clock := us
	if !local {
		clock = z.Local(us)
	}
	days := civil.FloorDiv(clock, civil.Day)
	clock += (civil.AddMonths(days, months) - days) * civil.Day
	if local {
		return clock
	}
	return z.Instant(clock)
}

func scaleInterval(e *Entry, l, r expr.Expr, divide bool) expr.Expr {
	scale := func(v, by float64) (float64, error) {
		if divide {
			if by == 0 {
				return 0, errDivide
			}
			return math.Round(v / by), nil
		}
		return math.Round(v * by), nil
	}
	if l.Type().ID() == arrow.INTERVAL_MONTHS {
		k := k2(func(m int32, by float64) (int32, error) {
			f, err := scale(float64(m), by)
			if err == nil && !(f >= math.MinInt32 && f <= math.MaxInt32) {
				err = errTimeRange
			}
			return int32(f), err
		})
		return e.newCall(k, []expr.Expr{l, r}, l.Type())
	}
	k := vec.Map2(func(*expr.KernelContext) (vec.F2[int64, float64, int64], error) {
		return func(us int64, by float64) (int64, error) {
			f, err := scale(float64(us), by)
			if err == nil && !(f >= -(1<<63) && f < 1<<63) {
				err = errTimeRange
			}
			return int64(f), err
		}, nil
	})
	return e.newCall(k, []expr.Expr{l, r}, l.Type())
}

// divideIntervals counts how often one interval goes into another.
func divideIntervals(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	return perRowFixed(kc, args, n, func(i int) (int64, error) {
		a, b := timeValue(args[0], i), timeValue(args[1], i)
		switch {
		case b == 0:
			return 0, errDivide
		case b == -1 && a == math.MinInt64:
			return 0, errOverflow(expr.TypeInt64)
		}
		return a / b, nil
	})
}
