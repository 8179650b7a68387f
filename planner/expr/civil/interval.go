package civil

import (
	"math"
	"strconv"
	"strings"
)

// AppendMonths writes a year-month interval as y-m with its sign.
func AppendMonths(dst []byte, months int64) []byte {
	if months < 0 {
		dst = append(dst, '-')
		months = -months
	}
	dst = strconv.AppendInt(dst, months/12, 10)
	return strconv.AppendInt(append(dst, '-'), months%12, 10)
}

// AppendDuration writes a day-time interval as d hh:mm:ss[.ffffff] with its sign.
func AppendDuration(dst []byte, us int64) []byte {
	u := uint64(us)
	if us < 0 {
		dst = append(dst, '-')
		u = -u
	}
	dst = strconv.AppendUint(dst, u/uint64(Day), 10)
	return AppendTime(append(dst, ' '), int64(u%uint64(Day)))
}

// ParseMonths reads [+-]y-m, also inside INTERVAL '..' YEAR TO MONTH.
func ParseMonths(s string) (months int64, ok bool) {
	s, neg := intervalBody(s)
	y, rest, n := number(s, 9)
	if n == 0 {
		return 0, false
	}
	m := 0
	if rest != "" {
		if rest[0] != '-' {
			return 0, false
		}
		if m, rest, n = number(rest[1:], 2); n == 0 || rest != "" || m > 11 {
			return 0, false
		}
	}
	months = int64(y)*12 + int64(m)
	if neg {
		months = -months
	}
	return months, months >= math.MinInt32 && months <= math.MaxInt32
}

// ParseDuration reads [+-]d hh:mm:ss[.f] with parts left out from the right,
// also inside INTERVAL '..' DAY TO SECOND.
func ParseDuration(s string) (us int64, ok bool) {
	s, neg := intervalBody(s)
	d, rest, n := number(s, 9)
	if n == 0 {
		return 0, false
	}
	us = int64(d) * Day
	if us/Day != int64(d) {
		return 0, false
	}
	if rest != "" {
		if rest[0] != ' ' {
			return 0, false
		}
		var t int64
		if t, rest, ok = parseTime(rest[1:]); !ok || rest != "" {
			return 0, false
		}
		us += t
	}
	if neg {
		us = -us
	}
	return us, true
}

// intervalBody strips the words and quotes around an interval's digits, and its sign.
func intervalBody(s string) (body string, neg bool) {
	s = strings.TrimSpace(s)
	if len(s) > 8 && strings.EqualFold(s[:8], "INTERVAL") {
		s = strings.TrimSpace(s[8:])
		if s != "" && (s[0] == '-' || s[0] == '+') {
			neg = s[0] == '-'
			s = strings.TrimSpace(s[1:])
		}
		if i, j := strings.IndexByte(s, '\''), strings.LastIndexByte(s, '\''); i >= 0 && j > i {
			s = s[i+1 : j]
		}
	}
	if s != "" && (s[0] == '-' || s[0] == '+') {
		neg = neg != (s[0] == '-')
		s = s[1:]
	}
	return s, neg
}
