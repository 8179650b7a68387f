package ast

import (
	"fmt"
	"math"
	"math/bits"
	"strings"
)

// Amount is the meaning of an interval literal. Year-month and day-time
// intervals are two types, as in Spark; Months is used by the first and Micros
// by the second. From and To are the units that the literal spans.
type Amount struct {
	YearMonth bool
	Months    int64
	Micros    int64
	From, To  string
}

// Microseconds in each unit of a day-time interval.
const (
	microsPerMilli  = 1_000
	microsPerSecond = 1_000_000
	microsPerMinute = 60 * microsPerSecond
	microsPerHour   = 60 * microsPerMinute
	microsPerDay    = 24 * microsPerHour
)

// units orders the units from large to small; a day-time unit has its
// length in microseconds, a year-month unit in months.
var units = map[string]struct {
	rank  int
	month bool
	size  int64
}{
	"YEAR":        {0, true, 12},
	"QUARTER":     {1, true, 3},
	"MONTH":       {2, true, 1},
	"WEEK":        {3, false, 7 * microsPerDay},
	"DAY":         {4, false, microsPerDay},
	"HOUR":        {5, false, microsPerHour},
	"MINUTE":      {6, false, microsPerMinute},
	"SECOND":      {7, false, microsPerSecond},
	"MILLISECOND": {8, false, microsPerMilli},
	"MICROSECOND": {9, false, 1},
}

// Unit folds the spellings of an interval unit (days, DAY, d, mins) to one. The
// short forms are understood inside quoted text only; short says whether they
// count.
func Unit(word string, short bool) (string, bool) {
	u := strings.ToUpper(word)
	if _, ok := units[u]; ok {
		return u, true
	}
	if _, ok := units[strings.TrimSuffix(u, "S")]; ok {
		return strings.TrimSuffix(u, "S"), true
	}
	if !short {
		return "", false
	}
	s, ok := map[string]string{
		"Y": "YEAR", "MON": "MONTH", "MONS": "MONTH", "W": "WEEK", "D": "DAY", "H": "HOUR",
		"HR": "HOUR", "HRS": "HOUR", "M": "MINUTE", "MIN": "MINUTE", "MINS": "MINUTE", "S": "SECOND",
		"SEC": "SECOND", "SECS": "SECOND", "MS": "MILLISECOND", "MSEC": "MILLISECOND",
		"MILLIS": "MILLISECOND", "US": "MICROSECOND", "MICROS": "MICROSECOND",
	}[u]
	return s, ok
}

// Amount computes the meaning of the literal. The parser calls it once, so that
// a literal in a tree is always a valid one.
func (i *Interval) Amount() (Amount, error) {
	if len(i.Parts) == 1 && i.Parts[0].Unit == "" {
		return ParseInterval(i.Parts[0].Value)
	}
	var a Amount
	for n, p := range i.Parts {
		var b Amount
		var err error
		if p.To != "" {
			b, err = rangeAmount(p)
		} else {
			b, err = unitAmount(p.Value, p.Unit)
		}
		if err != nil {
			return Amount{}, err
		}
		if a, err = addAmount(a, b, n == 0); err != nil {
			return Amount{}, err
		}
	}
	return a, nil
}

// ParseInterval reads the text of an interval: '1 hour 2 minutes', '-3 days',
// 'interval 5 seconds', '10ms'. Options and window() use it too.
func ParseInterval(text string) (Amount, error) {
	rest := strings.TrimSpace(text)
	if len(rest) > 8 && strings.EqualFold(rest[:8], "interval") {
		rest = strings.TrimSpace(rest[8:])
	}
	var a Amount
	for first := true; rest != ""; first = false {
		n := 0
		for n < len(rest) && strings.IndexByte("+-.0123456789 ", rest[n]) >= 0 {
			n++
		}
		num := strings.ReplaceAll(rest[:n], " ", "")
		m := n
		for m < len(rest) && rest[m] != ' ' && (rest[m] < '0' || rest[m] > '9') && rest[m] != '-' && rest[m] != '+' {
			m++
		}
		unit, ok := Unit(rest[n:m], true)
		if num == "" || !ok {
			return Amount{}, fmt.Errorf("%q is not an interval such as '10 seconds' or '1 hour 30 minutes'", text)
		}
		b, err := unitAmount(num, unit)
		if err != nil {
			return Amount{}, err
		}
		if a, err = addAmount(a, b, first); err != nil {
			return Amount{}, err
		}
		rest = strings.TrimSpace(rest[m:])
	}
	if a.From == "" {
		return Amount{}, fmt.Errorf("an empty text is not an interval")
	}
	return a, nil
}

func addAmount(a, b Amount, first bool) (Amount, error) {
	if first {
		return b, nil
	}
	if a.YearMonth != b.YearMonth {
		return Amount{}, fmt.Errorf("an interval cannot mix years or months with days or smaller units; write two intervals")
	}
	var ok1, ok2 bool
	a.Months, ok1 = add64(a.Months, b.Months)
	a.Micros, ok2 = add64(a.Micros, b.Micros)
	if !ok1 || !ok2 {
		return Amount{}, errIntervalRange
	}
	if units[b.From].rank < units[a.From].rank {
		a.From = b.From
	}
	if units[b.To].rank > units[a.To].rank {
		a.To = b.To
	}
	return a, nil
}

var errIntervalRange = fmt.Errorf("the interval is out of range")

// spanUnit is the unit that a type can name: weeks are days, and what is
// smaller than a second is a part of one.
func spanUnit(unit string) string {
	switch unit {
	case "WEEK":
		return "DAY"
	case "QUARTER":
		return "MONTH"
	case "MILLISECOND", "MICROSECOND":
		return "SECOND"
	}
	return unit
}

func unitAmount(value, unit string) (Amount, error) {
	u := units[unit]
	span := spanUnit(unit)
	a := Amount{YearMonth: u.month, From: span, To: span}
	whole, frac, neg, err := splitNumber(value)
	if err != nil {
		return Amount{}, err
	}
	if frac != "" && (u.month || unit == "MICROSECOND") {
		return Amount{}, fmt.Errorf("%q is not a whole number of %ss", value, strings.ToLower(unit))
	}
	n, ok := mul64(whole, u.size)
	if !ok {
		return Amount{}, errIntervalRange
	}
	f, err := fraction(frac, u.size, value)
	if err != nil {
		return Amount{}, err
	}
	if n, ok = add64(n, f); !ok {
		return Amount{}, errIntervalRange
	}
	if neg {
		n = -n
	}
	if u.month {
		if n > math.MaxInt32 || n < math.MinInt32 {
			return Amount{}, errIntervalRange
		}
		a.Months = n
	} else {
		a.Micros = n
	}
	return a, nil
}

// splitNumber cuts a decimal text into its parts.
func splitNumber(value string) (whole int64, frac string, neg bool, err error) {
	s := strings.TrimSpace(value)
	for s != "" && (s[0] == '-' || s[0] == '+') {
		neg = neg != (s[0] == '-')
		s = strings.TrimSpace(s[1:])
	}
	w, frac, dot := strings.Cut(s, ".")
	if w == "" && frac == "" || !digits(w) || !digits(frac) || dot && frac == "" && w == "" {
		return 0, "", false, fmt.Errorf("%q is not a number", value)
	}
	for _, c := range w {
		var ok bool
		if whole, ok = mul64(whole, 10); ok {
			whole, ok = add64(whole, int64(c-'0'))
		}
		if !ok {
			return 0, "", false, errIntervalRange
		}
	}
	return whole, frac, neg, nil
}

// fraction is 0.frac of a unit, which must be a whole number of microseconds.
func fraction(frac string, size int64, value string) (int64, error) {
	frac = strings.TrimRight(frac, "0")
	if len(frac) > 9 {
		return 0, fmt.Errorf("%q has more digits than a microsecond can show", value)
	}
	var n, scale int64 = 0, 1
	for _, c := range frac {
		n, scale = n*10+int64(c-'0'), scale*10
	}
	hi, lo := bits.Mul64(uint64(n), uint64(size))
	q, r := bits.Div64(hi, lo, uint64(scale))
	if r != 0 {
		return 0, fmt.Errorf("%q has more digits than a microsecond can show", value)
	}
	return int64(q), nil
}

func digits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}

func add64(a, b int64) (int64, bool) {
	c := a + b
	return c, (c > a) == (b > 0)
}

func mul64(a, b int64) (int64, bool) {
	if a == 0 || b == 0 {
		return 0, true
	}
	c := a * b
	return c, c/b == a && !(a == -1 && b == math.MinInt64) && !(b == -1 && a == math.MinInt64)
}

// rangeAmount reads '1-2' YEAR TO MONTH and '3 04:05:06.7' DAY TO SECOND.
func rangeAmount(p IntervalPart) (Amount, error) {
	from, to := units[p.Unit], units[p.To]
	if from.month != to.month || from.rank >= to.rank {
		return Amount{}, fmt.Errorf("an interval cannot go from %s to %s", p.Unit, p.To)
	}
	bad := fmt.Errorf("%q does not fit INTERVAL %s TO %s", p.Value, p.Unit, p.To)
	s := strings.TrimSpace(p.Value)
	neg := false
	for s != "" && (s[0] == '-' || s[0] == '+') { // two signs are the operator's and the text's own
		neg = neg != (s[0] == '-')
		s = s[1:]
	}
	var fields []string
	if from.month {
		fields = strings.Split(s, "-")
	} else {
		if p.Unit == "DAY" {
			day, rest, ok := strings.Cut(s, " ")
			if !ok {
				return Amount{}, bad
			}
			fields, s = append(fields, day), strings.TrimSpace(rest)
		}
		fields = append(fields, strings.Split(s, ":")...)
	}
	names := rangeUnits(p.Unit, p.To)
	if len(fields) != len(names) {
		return Amount{}, bad
	}
	var a Amount
	for i, f := range fields {
		if f == "" || strings.ContainsAny(f, "+-") {
			return Amount{}, bad
		}
		b, err := unitAmount(f, names[i])
		if err != nil {
			return Amount{}, bad
		}
		if a, err = addAmount(a, b, i == 0); err != nil {
			return Amount{}, err
		}
	}
	if neg {
		a.Months, a.Micros = -a.Months, -a.Micros
	}
	return a, nil
}

func rangeUnits(from, to string) []string {
	all := []string{"YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"}
	var out []string
	on := false
	for _, u := range all {
		on = on || u == from
		if on {
			out = append(out, u)
		}
		if u == to {
			break
		}
	}
	return out
}
