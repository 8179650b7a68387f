package text

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

var errTime = errors.New("not a timestamp")
var errDate = errors.New("not a date")

const dayMicros = 86_400_000_000

// daysFromCivil counts days since 1970-01-01 in the proleptic Gregorian
// calendar (Hinnant's days_from_civil).
func daysFromCivil(y, m, d int) int64 {
	if m <= 2 {
		y--
	}
	era := y / 400
	if y < 0 {
		era = (y - 399) / 400
	}
	yoe := y - era*400
	mp := (m + 9) % 12
	doy := (153*mp+2)/5 + d - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return int64(era)*146097 + int64(doe) - 719468
}

var monthDays = [13]int{0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

// cursor walks over the text of a time.
type cursor struct {
	b   []byte
	pos int
}

// number reads between lo and hi digits.
func (c *cursor) number(lo, hi int) (int, bool) {
	v, n := 0, 0
	for n < hi && c.pos < len(c.b) && c.b[c.pos]-'0' <= 9 {
		v = v*10 + int(c.b[c.pos]-'0')
		c.pos++
		n++
	}
	return v, n >= lo
}

func (c *cursor) take(ch byte) bool {
	if c.pos < len(c.b) && c.b[c.pos] == ch {
		c.pos++
		return true
	}
	return false
}

func (c *cursor) date() (y, m, d int, ok bool) {
	var ok1, ok2, ok3 bool
	y, ok1 = c.number(4, 4)
	ok1 = ok1 && c.take('-')
	m, ok2 = c.number(1, 2)
	ok2 = ok2 && c.take('-')
	d, ok3 = c.number(1, 2)
	if !ok1 || !ok2 || !ok3 || m < 1 || m > 12 || d < 1 || d > 31 {
		return 0, 0, 0, false
	}
	if d > monthDays[m] && (m != 2 || d != 29 || y%4 != 0 || y%100 == 0 && y%400 != 0) {
		return 0, 0, 0, false
	}
	return y, m, d, true
}

// ParseDate reads yyyy-M-d as days since 1970-01-01.
func ParseDate(b []byte) (int32, error) {
	c := cursor{b: b}
	y, m, d, ok := c.date()
	if !ok || c.pos != len(b) {
		return 0, errDate
	}
	return int32(daysFromCivil(y, m, d)), nil
}

// ParseTimestamp reads ISO 8601 (date, or date and time behind a blank or T,
// up to nine digits of a second, Z or an offset) as microseconds since 1970.
// Without an offset the text is the wall clock of zone; nil is UTC.
func ParseTimestamp(b []byte, zone *time.Location) (int64, error) {
	c := cursor{b: b}
	y, mo, d, ok := c.date()
	if !ok {
		return 0, errTime
	}
	var h, mi, s, us int
	if c.pos < len(b) {
		if b[c.pos] != 'T' && b[c.pos] != ' ' && b[c.pos] != 't' {
			return 0, errTime
		}
		c.pos++
		if h, mi, s, us, ok = c.clock(); !ok {
			return 0, errTime
		}
	}
	micros := daysFromCivil(y, mo, d)*dayMicros + int64(h*3600+mi*60+s)*1_000_000 + int64(us)
	if c.pos == len(b) {
		if zone == nil || zone == time.UTC {
			return micros, nil
		}
		return instant(micros, zone), nil
	}
	off, ok := c.offset()
	if !ok || c.pos != len(b) {
		return 0, errTime
	}
	return micros - int64(off)*1_000_000, nil
}

// instant is when the clocks of zone show wall. A wall clock that a zone's change
// repeats is the earlier instant; one that the change leaves out moves on by the
// gap, as in a cast. time.Date promises neither.
func instant(wall int64, zone *time.Location) int64 {
	offset := func(us int64) int64 {
		_, seconds := time.UnixMicro(us).In(zone).Zone()
		return int64(seconds) * 1_000_000
	}
	before := offset(wall - dayMicros)
	if us := wall - before; offset(us) == before {
		return us
	}
	after := offset(wall + dayMicros)
	if us := wall - after; offset(us) == after {
		return us
	}
	return wall - before
}

func (c *cursor) clock() (h, m, s, us int, ok bool) {
	h, ok1 := c.number(1, 2)
	ok1 = ok1 && c.take(':')
	m, ok2 := c.number(1, 2)
	ok = ok1 && ok2
	if ok && c.take(':') {
		if s, ok = c.number(1, 2); ok && c.take('.') {
			at := c.pos
			frac, some := c.number(1, 9)
			n := c.pos - at
			for ; n < 6; n++ {
				frac *= 10
			}
			for ; n > 6; n-- {
				frac /= 10
			}
			us, ok = frac, some
		}
	}
	return h, m, s, us, ok && h < 24 && m < 60 && s < 60
}

// offset reads Z, ±hh, ±hhmm or ±hh:mm as seconds east of UTC.
func (c *cursor) offset() (int, bool) {
	c.take(' ')
	if c.take('Z') || c.take('z') {
		return 0, true
	}
	sign := 1
	if c.take('-') {
		sign = -1
	} else if !c.take('+') {
		return 0, false
	}
	h, ok := c.number(2, 2)
	m := 0
	if ok && c.pos < len(c.b) {
		c.take(':')
		m, ok = c.number(2, 2)
	}
	return sign * (h*3600 + m*60), ok && h <= 18 && m < 60
}

// TimeFormat reads timestamps in one way.
type TimeFormat struct {
	layout string // Go's; "" for ISO 8601
	unit   int64  // microseconds of one unit of an epoch number; 0 if the text is no number
	div    int64  // units of a microsecond, for nanoseconds
	date   string // Go's layout of dates; "" for ISO 8601
	zone   *time.Location
}

// NewTimeFormat understands "iso" (or ""), "epoch-seconds", "epoch-millis",
// "epoch-micros", "epoch-nanos" and Java's patterns as Spark users write them.
func NewTimeFormat(pattern string, zone *time.Location) (TimeFormat, error) {
	f := TimeFormat{zone: zone}
	switch strings.ToLower(pattern) {
	case "", "iso":
		return f, nil
	case "epoch-seconds":
		f.unit = 1_000_000
		return f, nil
	case "epoch-millis":
		f.unit = 1000
		return f, nil
	case "epoch-micros":
		f.unit = 1
		return f, nil
	case "epoch-nanos":
		f.unit, f.div = 1, 1000
		return f, nil
	}
	var err error
	f.layout, err = goLayout(pattern)
	return f, err
}

// WithDates is the format with a pattern for dates, "" or "iso" for ISO 8601.
func (f TimeFormat) WithDates(pattern string) (TimeFormat, error) {
	if pattern == "" || strings.EqualFold(pattern, "iso") {
		return f, nil
	}
	var err error
	f.date, err = goLayout(pattern)
	return f, err
}

// Date reads a date as days since 1970-01-01.
func (f TimeFormat) Date(b []byte) (int32, error) {
	if f.date == "" {
		return ParseDate(b)
	}
	t, err := time.Parse(f.date, view(b))
	if err != nil {
		return 0, errDate
	}
	return int32(daysFromCivil(t.Year(), int(t.Month()), t.Day())), nil
}

// Epoch reports whether timestamps are numbers.
func (f TimeFormat) Epoch() bool { return f.unit > 0 }

// Parse reads a timestamp as microseconds since 1970. local says that the
// column has no zone, so that the session's does not matter.
func (f TimeFormat) Parse(b []byte, local bool) (int64, error) {
	zone := f.zone
	if local || zone == nil {
		zone = time.UTC
	}
	switch {
	case f.unit > 0:
		return f.epoch(b)
	case f.layout != "":
		t, err := time.ParseInLocation(f.layout, view(b), zone)
		if err != nil {
			return 0, errTime
		}
		return t.UnixMicro(), nil
	}
	return ParseTimestamp(b, zone)
}

// universal reports whether timestamps are those of ISO 8601, and mean UTC where they do
// not say anything else.
func (f TimeFormat) universal(local bool) bool {
	return f.unit == 0 && f.layout == "" && (local || f.zone == nil || f.zone == time.UTC)
}

func (f TimeFormat) epoch(b []byte) (int64, error) {
	if n, err := ParseInt(b); err == nil {
		if f.div > 0 {
			q := n / f.div
			if n%f.div < 0 {
				q--
			}
			return q, nil
		}
		if p := n * f.unit; p/f.unit == n {
			return p, nil
		}
		return 0, errTime
	}
	v, err := strconv.ParseFloat(view(b), 64)
	v *= float64(f.unit)
	if f.div > 0 {
		v /= float64(f.div)
	}
	if err != nil || v != v || v > 1<<62 || v < -1<<62 {
		return 0, errTime
	}
	return int64(v), nil
}

var javaLetters = map[string]string{
	"yyyy": "2006", "uuuu": "2006", "yy": "06", "MMMM": "January", "MMM": "Jan", "MM": "01", "M": "1", "dd": "02", "d": "2",
	"HH": "15", "hh": "03", "h": "3", "mm": "04", "m": "4", "ss": "05", "s": "5", "a": "PM", "EEE": "Mon", "EEEE": "Monday",
	"X": "Z07", "XX": "Z0700", "XXX": "Z07:00", "Z": "-0700", "z": "MST", "D": "__2", "DDD": "002",
}

// goLayout translates a Java date pattern.
func goLayout(p string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(p); {
		c := p[i]
		if c == '\'' {
			end := strings.IndexByte(p[i+1:], '\'')
			if end < 0 {
				return "", fmt.Errorf("time pattern %q: a quote is not closed", p)
			}
			out.WriteString(p[i+1 : i+1+end])
			i += end + 2
			continue
		}
		if c|0x20 < 'a' || c|0x20 > 'z' {
			out.WriteByte(c)
			i++
			continue
		}
		n := 1
		for i+n < len(p) && p[i+n] == c {
			n++
		}
		if c == 'S' {
			out.WriteString(strings.Repeat("0", n))
		} else if g, ok := javaLetters[p[i:i+n]]; ok {
			out.WriteString(g)
		} else {
			return "", fmt.Errorf("time pattern %q: %q is not known", p, p[i:i+n])
		}
		i += n
	}
	return out.String(), nil
}
