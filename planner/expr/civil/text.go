package civil

import (
	"strconv"
	"strings"
)

// AppendDate writes yyyy-mm-dd.
func AppendDate(dst []byte, days int64) []byte {
	y, m, d := FromDays(days)
	dst = appendYear(dst, y)
	dst = append(dst, '-', byte('0'+m/10), byte('0'+m%10), '-', byte('0'+d/10), byte('0'+d%10))
	return dst
}

func appendYear(dst []byte, y int) []byte {
	if y < 0 {
		dst = append(dst, '-')
		y = -y
	} else if y > 9999 {
		dst = append(dst, '+')
	}
	if y < 1000 {
		dst = append(dst, '0')
	}
	if y < 100 {
		dst = append(dst, '0')
	}
	if y < 10 {
		dst = append(dst, '0')
	}
	return strconv.AppendInt(dst, int64(y), 10)
}

// AppendClock writes yyyy-mm-dd hh:mm:ss[.ffffff] of a wall clock, the fraction
// without trailing zeros.
func AppendClock(dst []byte, local int64) []byte {
	days := FloorDiv(local, Day)
	dst = append(AppendDate(dst, days), ' ')
	return AppendTime(dst, local-days*Day)
}

// AppendTime writes hh:mm:ss[.ffffff] of the microseconds within a day.
func AppendTime(dst []byte, us int64) []byte {
	h, m, s, f := us/Hour, us/Minute%60, us/Second%60, us%Second
	dst = append(dst, byte('0'+h/10), byte('0'+h%10), ':', byte('0'+m/10), byte('0'+m%10), ':',
		byte('0'+s/10), byte('0'+s%10))
	return AppendFraction(dst, f)
}

// AppendFraction writes a point and up to six digits, nothing for zero.
func AppendFraction(dst []byte, us int64) []byte {
	if us == 0 {
		return dst
	}
	dst = append(dst, '.')
	for p := int64(100_000); us > 0; p /= 10 {
		dst = append(dst, byte('0'+us/p))
		us %= p
	}
	return dst
}

// ParseDate reads [+-]y..y[-m[-d]] as Spark's cast does; after a complete date
// whatever follows a blank or T is left out.
func ParseDate(s string) (days int64, ok bool) {
	s = strings.TrimSpace(s)
	y, m, d, rest, ok := dateFields(s)
	if !ok || rest != "" && rest[0] != ' ' && rest[0] != 'T' || !Valid(y, m, d) {
		return 0, false
	}
	return ToDays(y, m, d), true
}

// dateFields reads year, month and day, the latter two 1 where they are missing.
func dateFields(s string) (y, m, d int, rest string, ok bool) {
	neg := false
	if s != "" && (s[0] == '+' || s[0] == '-') {
		neg = s[0] == '-'
		s = s[1:]
	}
	y, s, n := number(s, 7)
	if n < 4 {
		return 0, 0, 0, "", false
	}
	if neg {
		y = -y
	}
	m, d = 1, 1
	if s == "" || s[0] != '-' {
		return y, m, d, s, s == ""
	}
	if m, s, n = number(s[1:], 2); n == 0 {
		return 0, 0, 0, "", false
	}
	if s == "" || s[0] != '-' {
		return y, m, d, s, s == ""
	}
	if d, s, n = number(s[1:], 2); n == 0 {
		return 0, 0, 0, "", false
	}
	return y, m, d, s, true
}

// number reads up to limit digits.
func number(s string, limit int) (v int, rest string, n int) {
	for n < len(s) && n < limit && s[n] >= '0' && s[n] <= '9' {
		v = v*10 + int(s[n]-'0')
		n++
	}
	return v, s[n:], n
}

// Stamp is what ParseStamp found: a wall clock, and the zone if the text names one.
type Stamp struct {
	Local int64
	Zone  *Zone
}

// ParseStamp reads a date, or a date and time joined by a blank or T, with an
// optional fraction and zone, as Spark's cast does.
func ParseStamp(s string) (Stamp, bool) {
	s = strings.TrimSpace(s)
	y, m, d, rest, ok := dateFields(s)
	if !ok || !Valid(y, m, d) {
		return Stamp{}, false
	}
	st := Stamp{Local: ToDays(y, m, d) * Day}
	if rest == "" {
		return st, true
	}
	if rest[0] != ' ' && rest[0] != 'T' {
		return Stamp{}, false
	}
	us, zone, ok := parseTime(rest[1:])
	if !ok {
		return Stamp{}, false
	}
	st.Local += us
	if zone = strings.TrimSpace(zone); zone != "" {
		z, err := Load(zone)
		if err != nil {
			return Stamp{}, false
		}
		st.Zone = z
	}
	return st, true
}

// parseTime reads h:m[:s[.f]] and returns what follows.
func parseTime(s string) (us int64, rest string, ok bool) {
	h, s, n := number(s, 2)
	if n == 0 || h > 23 {
		return 0, "", false
	}
	us = int64(h) * Hour
	if s == "" || s[0] != ':' {
		return us, s, true
	}
	m, s, n := number(s[1:], 2)
	if n == 0 || m > 59 {
		return 0, "", false
	}
	us += int64(m) * Minute
	if s == "" || s[0] != ':' {
		return us, s, true
	}
	sec, s, n := number(s[1:], 2)
	if n == 0 || sec > 59 {
		return 0, "", false
	}
	us += int64(sec) * Second
	if s != "" && s[0] == '.' {
		var f int64
		f, s, ok = fraction(s[1:])
		if !ok {
			return 0, "", false
		}
		us += f
	}
	return us, s, true
}

// fraction reads up to nine digits as microseconds, cutting the rest.
func fraction(s string) (us int64, rest string, ok bool) {
	v, rest, n := number(s, 6)
	for i := n; i < 6; i++ {
		v *= 10
	}
	_, rest, _ = number(rest, 3)
	return int64(v), rest, true
}
