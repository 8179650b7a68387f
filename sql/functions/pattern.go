package functions

import (
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/civil"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

var (
	weekdays = [...]string{"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}
	months   = [...]string{"January", "February", "March", "April", "May", "June", "July", "August", "September",
		"October", "November", "December"}
)

// timePattern is a date pattern as Spark's date_format takes it.
type timePattern struct {
	text  string
	parts []patternPart
	// unit is the span of wall clock within which all texts are the same, a day at
	// most; 1 where the zone is written, too.
	unit int64
}

// patternPart is a run of one letter, or literal text (letter 0). What stands
// between '[' and ']' may be missing; count is how many parts that are.
type patternPart struct {
	letter byte
	count  int
	text   string
}

func compilePattern(p string) (*timePattern, error) {
	f := &timePattern{text: strings.Clone(p)}
	var open []int
	for i := 0; i < len(p); {
		c := p[i]
		switch {
		case c == '[':
			open = append(open, len(f.parts))
			f.parts = append(f.parts, patternPart{letter: c})
			i++
		case c == ']':
			if len(open) == 0 {
				return nil, batch.UserErrorf("[INVALID_DATETIME_PATTERN] '%s' closes a part that it does not open", p)
			}
			from := open[len(open)-1]
			open, f.parts[from].count = open[:len(open)-1], len(f.parts)-from-1
			f.parts = append(f.parts, patternPart{letter: c})
			i++
		case c == '\'':
			j := strings.IndexByte(p[i+1:], '\'')
			if j < 0 {
				return nil, batch.UserErrorf("[INVALID_DATETIME_PATTERN] '%s' has a quote without end", p)
			}
			text := p[i+1 : i+1+j]
			if j == 0 {
				text = "'"
			}
			f.parts = append(f.parts, patternPart{text: strings.Clone(text)})
			i += j + 2
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			j := i
			for j < len(p) && p[j] == c {
				j++
			}
			if !strings.ContainsRune("yuMLdHhkKmsSaEDQqzZXxVG", rune(c)) {
				return nil, batch.UserErrorf("[INVALID_DATETIME_PATTERN] '%s' has the unknown letter %c", p, c)
			}
			f.parts = append(f.parts, patternPart{letter: c, count: j - i})
			i = j
		default:
			f.parts = append(f.parts, patternPart{text: string(c)})
			i++
		}
	}
	if len(open) > 0 {
		return nil, batch.UserErrorf("[INVALID_DATETIME_PATTERN] '%s' does not close a part that it opens", p)
	}
	f.unit = civil.Day
	for _, part := range f.parts {
		f.unit = min(f.unit, part.unit())
	}
	return f, nil
}

// unit is the span of wall clock within which a part has one text.
func (p patternPart) unit() int64 {
	switch p.letter {
	case 'S', 'z', 'V', 'Z', 'X', 'x':
		return 1
	case 's':
		return civil.Second
	case 'm':
		return civil.Minute
	case 'H', 'h', 'K', 'k', 'a':
		return civil.Hour
	}
	return civil.Day
}

// stamper writes instants in one zone and keeps the last text: neighbours in a
// column are mostly of one day or one minute.
type stamper struct {
	patterns patternCache
	zone     *civil.Zone
	of       *timePattern // what last was written with
	from     int64        // the span of wall clock that last stands for
	last     []byte
}

func (s *stamper) append(dst []byte, us int64, pattern string) ([]byte, error) {
	f, err := s.patterns.get(pattern)
	if err != nil {
		return nil, err
	}
	local := s.zone.Local(us)
	if s.of == f && uint64(local-s.from) < uint64(f.unit) {
		return append(dst, s.last...), nil
	}
	at := len(dst)
	dst = f.append(dst, us, s.zone)
	s.of, s.from, s.last = f, civil.FloorDiv(local, f.unit)*f.unit, append(s.last[:0], dst[at:]...)
	return dst, nil
}

// sameStamp writes a column whose rows are all within one span of a constant
// pattern's, as batches of a stream mostly are. It returns nil for others.
func sameStamp(kc *expr.KernelContext, args []expr.Vec, n int, toMicros func(int64) int64) (arrow.Array, error) {
	if n < 2 || args[0].Const || !args[1].Const || args[0].Arr.NullN() > 0 || args[1].Arr.NullN() > 0 {
		return nil, nil
	}
	z, err := civil.Load(kc.Zone)
	if err != nil {
		return nil, err
	}
	pattern := vec.Load[string](args[1])
	defer pattern.Release()
	s := stamper{zone: z}
	values := vec.Values[int64](args[0].Arr)
	text, err := s.append(nil, toMicros(values[0]), pattern.At(0))
	if err != nil {
		return nil, err
	}
	for _, v := range values {
		if uint64(z.Local(toMicros(v))-s.from) >= uint64(s.of.unit) {
			return nil, nil
		}
	}
	return vec.Repeat(kc.Alloc, kc.Result, text, n)
}

func padded(dst []byte, v int64, width int) []byte {
	switch {
	case width == 2 && v >= 0 && v < 100:
		return append(dst, '0'+byte(v/10), '0'+byte(v%10))
	case width == 4 && v >= 0 && v < 10_000:
		return append(dst, '0'+byte(v/1000), '0'+byte(v/100%10), '0'+byte(v/10%10), '0'+byte(v%10))
	}
	var tmp [20]byte
	s := strconv.AppendInt(tmp[:0], v, 10)
	for k := len(s); k < width; k++ {
		dst = append(dst, '0')
	}
	return append(dst, s...)
}

// append writes an instant in a zone.
func (f *timePattern) append(dst []byte, us int64, z *civil.Zone) []byte {
	local := z.Local(us)
	days := civil.FloorDiv(local, civil.Day)
	y, m, d := civil.FromDays(days)
	t := local - days*civil.Day
	h := t / civil.Hour
	for _, p := range f.parts {
		switch p.letter {
		case 0:
			dst = append(dst, p.text...)
		case '[', ']':
		case 'y', 'u':
			if p.count == 2 {
				dst = padded(dst, int64(y%100), 2)
			} else {
				dst = padded(dst, int64(y), p.count)
			}
		case 'M', 'L':
			dst = named(dst, p.count, m, months[m-1])
		case 'd':
			dst = padded(dst, int64(d), p.count)
		case 'D':
			dst = padded(dst, int64(civil.YearDay(days)), p.count)
		case 'Q', 'q':
			dst = padded(dst, int64((m-1)/3+1), p.count)
		case 'E':
			name := weekdays[civil.Weekday(days)]
			if p.count < 4 {
				name = name[:3]
			}
			dst = append(dst, name...)
		case 'G':
			dst = append(dst, "AD"...)
		default:
			dst = p.appendClock(dst, t, h, us, z)
		}
	}
	return dst
}

func named(dst []byte, count, v int, name string) []byte {
	switch {
	case count >= 4:
		return append(dst, name...)
	case count == 3:
		return append(dst, name[:3]...)
	}
	return padded(dst, int64(v), count)
}

func (p patternPart) appendClock(dst []byte, t, h, us int64, z *civil.Zone) []byte {
	switch p.letter {
	case 'H':
		return padded(dst, h, p.count)
	case 'h':
		return padded(dst, (h+11)%12+1, p.count)
	case 'K':
		return padded(dst, h%12, p.count)
	case 'k':
		return padded(dst, (h+23)%24+1, p.count)
	case 'm':
		return padded(dst, t/civil.Minute%60, p.count)
	case 's':
		return padded(dst, t/civil.Second%60, p.count)
	case 'S':
		s := padded(nil, t%civil.Second, 6)
		for len(s) < p.count {
			s = append(s, '0')
		}
		return append(dst, s[:p.count]...)
	case 'a':
		if h < 12 {
			return append(dst, "AM"...)
		}
		return append(dst, "PM"...)
	case 'z', 'V':
		return append(dst, z.Abbreviation(us)...)
	}
	return appendOffset(dst, z.Offset(us), p)
}

// appendOffset writes Z, X and x: +0200, +02:00 or Z.
func appendOffset(dst []byte, off int64, p patternPart) []byte {
	if p.letter == 'X' && off == 0 {
		return append(dst, 'Z')
	}
	sign := byte('+')
	if off < 0 {
		sign, off = '-', -off
	}
	dst = padded(append(dst, sign), off/3600, 2)
	if p.count == 1 && p.letter != 'Z' && off%3600 == 0 {
		return dst
	}
	if p.count == 3 && p.letter != 'Z' || p.count == 5 {
		dst = append(dst, ':')
	}
	return padded(dst, off/60%60, 2)
}

// parsed collects the fields of a text.
type parsed struct {
	y, m, d, h, mi, s int
	us                int64
	pm, half          bool
	yday              int
	zone              *civil.Zone
}

// parse reads a text; zone is nil if it names none.
func (f *timePattern) parse(s string) (local int64, zone *civil.Zone, err error) {
	bad := func() (int64, *civil.Zone, error) {
		return 0, nil, batch.UserErrorf("[CANNOT_PARSE_TIMESTAMP] '%s' does not fit the pattern '%s'", s, f.text)
	}
	v := parsed{y: 1970, m: 1, d: 1}
	rest, ok := v.sequence(f.parts, s)
	if !ok {
		return bad()
	}
	if v.half {
		v.h = v.h%12 + 12*int(b2u(v.pm))
	}
	if rest != "" || !civil.Valid(v.y, v.m, v.d) || v.h > 24 || v.mi > 59 || v.s > 59 {
		return bad()
	}
	days := civil.ToDays(v.y, v.m, v.d)
	if v.yday > 365 && !civil.Valid(v.y, 2, 29) || v.yday > 366 {
		return bad()
	}
	if v.yday > 0 {
		days = civil.ToDays(v.y, 1, 1) + int64(v.yday) - 1
	}
	return days*civil.Day + int64(v.h%24)*civil.Hour + int64(v.mi)*civil.Minute + int64(v.s)*civil.Second + v.us, v.zone, nil
}

// sequence reads parts one behind the other; what may be missing is read if it is there.
func (v *parsed) sequence(parts []patternPart, s string) (string, bool) {
	for i := 0; i < len(parts); i++ {
		p := parts[i]
		if p.letter == '[' {
			before := *v
			if rest, ok := v.sequence(parts[i+1:i+1+p.count], s); ok {
				s = rest
			} else {
				*v = before
			}
			i += p.count + 1
			continue
		}
		// A number followed by another one is as long as its letters say.
		adjacent := i+1 < len(parts) && parts[i+1].letter != 0 && parts[i+1].letter != '['
		var ok bool
		if s, ok = v.field(p, s, adjacent); !ok {
			return s, false
		}
	}
	return s, true
}

// field reads one part of the pattern off s.
func (v *parsed) field(p patternPart, s string, adjacent bool) (string, bool) {
	if p.letter == 0 {
		return strings.CutPrefix(s, p.text)
	}
	switch p.letter {
	case 'M', 'L':
		if p.count >= 3 {
			i, rest, ok := name(s, months[:], p.count == 3)
			v.m = i + 1
			return rest, ok
		}
	case 'E':
		_, rest, ok := name(s, weekdays[:], p.count < 4)
		return rest, ok
	case 'a':
		if len(s) < 2 || !strings.EqualFold(s[1:2], "M") {
			return s, false
		}
		v.half, v.pm = true, s[0]|0x20 == 'p'
		return s[2:], true
	case 'S':
		return v.fraction(s, p.count)
	case 'z', 'Z', 'X', 'x', 'V':
		n := 0
		for n < len(s) && s[n] != ' ' && s[n] != ']' {
			n++
		}
		if n == 0 {
			return s, false
		}
		z, err := civil.Load(s[:n])
		v.zone = z
		return s[n:], err == nil
	case 'G':
		return strings.CutPrefix(s, "AD")
	}
	limit := 2
	switch {
	case adjacent:
		limit = p.count
	case p.letter == 'y' || p.letter == 'u':
		limit = max(p.count, 9)
	case p.letter == 'D':
		limit = 3
	}
	return v.number(p, s, limit)
}

func (v *parsed) number(p patternPart, s string, limit int) (string, bool) {
	n, x := 0, 0
	for n < len(s) && n < limit && s[n] >= '0' && s[n] <= '9' {
		x = x*10 + int(s[n]-'0')
		n++
	}
	if n == 0 || p.count >= 2 && n < min(p.count, 2) || (p.letter == 'y' || p.letter == 'u') && p.count == 4 && n < 4 {
		return s, false
	}
	switch p.letter {
	case 'y', 'u':
		if p.count == 2 {
			x += 2000
		}
		v.y = x
	case 'M', 'L':
		v.m = x
	case 'd':
		v.d = x
	case 'D':
		v.yday = x
	case 'H', 'k':
		v.h = x
	case 'h', 'K':
		v.h, v.half = x, true
	case 'm':
		v.mi = x
	case 's':
		v.s = x
	}
	return s[n:], true
}

func (v *parsed) fraction(s string, limit int) (string, bool) {
	n := 0
	v.us = 0
	for p := civil.Second / 10; n < len(s) && n < limit && s[n] >= '0' && s[n] <= '9'; p /= 10 {
		v.us += int64(s[n]-'0') * p
		n++
	}
	return s[n:], n > 0
}

// name reads a month or weekday, whole or cut to three letters.
func name(s string, names []string, short bool) (int, string, bool) {
	for i, n := range names {
		if short {
			n = n[:3]
		}
		if len(s) >= len(n) && strings.EqualFold(s[:len(n)], n) {
			return i, s[len(n):], true
		}
	}
	return 0, s, false
}
