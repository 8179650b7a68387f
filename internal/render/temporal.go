package render

import (
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
)

// AppendTime appends date and time with as many digits of a second's fraction as
// are not zero; sep is what stands between the two.
func AppendTime(dst []byte, t time.Time, sep byte) []byte {
	dst = appendDate(dst, t)
	dst = append(dst, sep)
	h, m, s := t.Clock()
	return appendClock(dst, h, m, s, t.Nanosecond())
}

func appendDate(dst []byte, t time.Time) []byte {
	y, m, d := t.Date()
	switch {
	case y > 9999:
		dst = strconv.AppendInt(append(dst, '+'), int64(y), 10)
	case y < 0:
		dst = appendPadded(append(dst, '-'), -y, 4)
	default:
		dst = appendPadded(dst, y, 4)
	}
	dst = appendPadded(append(dst, '-'), int(m), 2)
	return appendPadded(append(dst, '-'), d, 2)
}

func appendClock(dst []byte, h, m, s, nanos int) []byte {
	dst = appendPadded(dst, h, 2)
	dst = appendPadded(append(dst, ':'), m, 2)
	dst = appendPadded(append(dst, ':'), s, 2)
	return appendFraction(dst, nanos)
}

// appendFraction appends the fraction of a second without trailing zeros.
func appendFraction(dst []byte, nanos int) []byte {
	if nanos == 0 {
		return dst
	}
	width := 9
	for nanos%10 == 0 {
		nanos, width = nanos/10, width-1
	}
	return appendPadded(append(dst, '.'), nanos, width)
}

// appendPadded appends v >= 0 with at least width digits.
func appendPadded(dst []byte, v, width int) []byte {
	for limit := pow10(width - 1); width > 1 && v < limit; width-- {
		dst = append(dst, '0')
		limit /= 10
	}
	return strconv.AppendInt(dst, int64(v), 10)
}

func pow10(n int) int {
	p := 1
	for range n {
		p *= 10
	}
	return p
}

// timeOf is an Arrow timestamp as an instant, in UTC. Unlike Arrow's own
// conversion it holds for all 64 bits of seconds and milliseconds that a
// time.Time has a year for.
func timeOf(v int64, unit arrow.TimeUnit) time.Time {
	switch unit {
	case arrow.Second:
		return time.Unix(v, 0).UTC()
	case arrow.Millisecond:
		return time.UnixMilli(v).UTC()
	case arrow.Microsecond:
		return time.UnixMicro(v).UTC()
	default:
		return time.Unix(0, v).UTC()
	}
}

// appendZone appends Z or the offset from UTC as +01:00.
func appendZone(dst []byte, t time.Time) []byte {
	_, offset := t.Zone()
	if offset == 0 {
		return append(dst, 'Z')
	}
	sign := byte('+')
	if offset < 0 {
		sign, offset = '-', -offset
	}
	dst = appendPadded(append(dst, sign), offset/3600, 2)
	return appendPadded(append(dst, ':'), offset/60%60, 2)
}

// appendDaySecond appends a length of time as Spark prints INTERVAL DAY TO SECOND.
func appendDaySecond(dst []byte, v int64, unit arrow.TimeUnit) []byte {
	perSecond := uint64(time.Second / unit.Multiplier())
	n := uint64(v)
	dst = append(dst, "INTERVAL '"...)
	if v < 0 {
		dst, n = append(dst, '-'), -n
	}
	seconds := n / perSecond
	nanos := int(n % perSecond * uint64(unit.Multiplier()))
	dst = strconv.AppendUint(dst, seconds/86400, 10)
	s := int(seconds % 86400)
	dst = appendClock(append(dst, ' '), s/3600, s/60%60, s%60, nanos)
	return append(dst, "' DAY TO SECOND"...)
}

// appendYearMonth appends a number of months as Spark prints INTERVAL YEAR TO MONTH.
func appendYearMonth(dst []byte, months int64) []byte {
	dst = append(dst, "INTERVAL '"...)
	if months < 0 {
		dst, months = append(dst, '-'), -months
	}
	dst = strconv.AppendInt(dst, months/12, 10)
	dst = strconv.AppendInt(append(dst, '-'), months%12, 10)
	return append(dst, "' YEAR TO MONTH"...)
}

// appendCalendar appends an interval of mixed parts, each with its own sign.
func appendCalendar(dst []byte, months, days, nanos int64) []byte {
	start := len(dst)
	part := func(n int64, unit string) {
		if n == 0 {
			return
		}
		if len(dst) > start {
			dst = append(dst, ' ')
		}
		dst = append(append(strconv.AppendInt(dst, n, 10), ' '), unit...)
	}
	part(months/12, "years")
	part(months%12, "months")
	part(days, "days")
	part(nanos/int64(time.Hour), "hours")
	part(nanos/int64(time.Minute)%60, "minutes")
	if rest := nanos % int64(time.Minute); rest != 0 {
		if len(dst) > start {
			dst = append(dst, ' ')
		}
		if rest < 0 {
			dst, rest = append(dst, '-'), -rest
		}
		dst = strconv.AppendInt(dst, rest/int64(time.Second), 10)
		dst = append(appendFraction(dst, int(rest%int64(time.Second))), " seconds"...)
	}
	if len(dst) == start {
		return append(dst, "0 seconds"...)
	}
	return dst
}
