package microbatch

import (
	"strconv"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/batch"
)

// Schedule is a parsed five-field cron line: minute, hour, day of month, month
// and day of week, each a set of bits.
type Schedule struct {
	minute, hour, day, month, weekday uint64
	// As in cron(8): when both days are restricted, either one suffices.
	anyDay, anyWeekday bool
}

type field struct {
	name     string
	min, max int
	names    []string // of min, min+1, ..
}

var fields = [5]field{
	{name: "minute", min: 0, max: 59},
	{name: "hour", min: 0, max: 23},
	{name: "day of month", min: 1, max: 31},
	{name: "month", min: 1, max: 12, names: []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
	{name: "day of week", min: 0, max: 7, names: []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
}

var macros = map[string]string{
	"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *",
	"@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}

// ParseSchedule reads five fields of *, numbers, names, ranges a-b, steps /n and
// lists of these, or one of the @ words that stand for them.
func ParseSchedule(text string) (Schedule, error) {
	line := strings.ToLower(strings.TrimSpace(text))
	if m, ok := macros[line]; ok {
		line = m
	}
	parts := strings.Fields(line)
	if len(parts) != len(fields) {
		return Schedule{}, batch.UserErrorf("cron %q: %d fields instead of 5 (minute hour day-of-month month day-of-week)", text, len(parts))
	}
	var sets [5]uint64
	for i, p := range parts {
		set, err := parseField(fields[i], p)
		if err != nil {
			return Schedule{}, batch.UserErrorf("cron %q: %w", text, err)
		}
		sets[i] = set
	}
	s := Schedule{minute: sets[0], hour: sets[1], day: sets[2], month: sets[3], weekday: sets[4],
		anyDay: strings.HasPrefix(parts[2], "*"), anyWeekday: strings.HasPrefix(parts[4], "*")}
	if s.weekday&(1<<7) != 0 { // both 0 and 7 are Sunday
		s.weekday |= 1
	}
	if _, ok := s.Next(time.Unix(0, 0).UTC()); !ok {
		return Schedule{}, batch.UserErrorf("cron %q never comes", text)
	}
	return s, nil
}

func parseField(f field, text string) (uint64, error) {
	var set uint64
	for _, item := range strings.Split(text, ",") {
		span, stepText, stepped := strings.Cut(item, "/")
		step := 1
		if stepped {
			n, err := strconv.Atoi(stepText)
			if err != nil || n < 1 || n > f.max {
				return 0, batch.UserErrorf("step %q in field %s", stepText, f.name)
			}
			step = n
		}
		lo, hi := f.min, f.max
		if f.max == 7 {
			hi = 6 // * is Sunday to Saturday once
		}
		if span != "*" {
			first, last, ranged := strings.Cut(span, "-")
			var err error
			if lo, err = parseValue(f, first); err != nil {
				return 0, err
			}
			switch {
			case ranged:
				if hi, err = parseValue(f, last); err != nil {
					return 0, err
				}
			case !stepped:
				hi = lo // a lone number; with a step it is the start of a range
			}
			if lo > hi {
				return 0, batch.UserErrorf("range %q in field %s runs backwards", span, f.name)
			}
		}
		for v := lo; v <= hi; v += step {
			set |= 1 << v
		}
	}
	return set, nil
}

func parseValue(f field, text string) (int, error) {
	for i, n := range f.names {
		if n == text {
			return f.min + i, nil
		}
	}
	v, err := strconv.Atoi(text)
	if err != nil || v < f.min || v > f.max || text[0] == '+' {
		return 0, batch.UserErrorf("%q in field %s is not %d to %d", text, f.name, f.min, f.max)
	}
	return v, nil
}

// yearsMax bounds the search for the next time. The longest gap between two
// times is that of 29 February over a century that is no leap year, 8 years, and
// on a given weekday-less schedule no longer.
const yearsMax = 9

// Next returns the first time after t, in t's zone, at which the schedule fires.
// Local times that a change of the clock skips do not come that day; those that
// come twice fire at the first.
func (s Schedule) Next(t time.Time) (time.Time, bool) {
	loc := t.Location()
	year, month, day := t.Date()
	for n := range yearsMax * 366 {
		d := time.Date(year, month, day+n, 12, 0, 0, 0, time.UTC) // the calendar alone
		if s.month&(1<<int(d.Month())) == 0 || !s.onDay(d) {
			continue
		}
		if next, ok := s.nextOn(d, t, loc); ok {
			return next, true
		}
	}
	return time.Time{}, false
}

// onDay reports whether the schedule has times on d's day of month or of week.
func (s Schedule) onDay(d time.Time) bool {
	day := s.day&(1<<d.Day()) != 0
	weekday := s.weekday&(1<<int(d.Weekday())) != 0
	if s.anyDay || s.anyWeekday {
		return day && weekday
	}
	return day || weekday
}

// nextOn returns the first time after t on the calendar day of d.
func (s Schedule) nextOn(d, t time.Time, loc *time.Location) (time.Time, bool) {
	for h := range 24 {
		if s.hour&(1<<h) == 0 {
			continue
		}
		for m := range 60 {
			if s.minute&(1<<m) == 0 {
				continue
			}
			c := first(time.Date(d.Year(), d.Month(), d.Day(), h, m, 0, 0, loc))
			if c.After(t) && c.Hour() == h && c.Minute() == m {
				return c, true
			}
		}
	}
	return time.Time{}, false
}

// first returns the earlier of the two instants that a local time has when the
// clock was set back over it; time.Date may give either.
func first(c time.Time) time.Time {
	_, now := c.Zone()
	_, before := c.Add(-3 * time.Hour).Zone()
	if e := c.Add(time.Duration(now-before) * time.Second); before > now && e.Hour() == c.Hour() && e.Minute() == c.Minute() {
		return e
	}
	return c
}
