package microbatch

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/robfig/cron/v3"
)

// TestScheduleAgainstCron compares with robfig/cron where both define the same:
// in UTC, without a step on both kinds of days at once.
func TestScheduleAgainstCron(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		line := randomLine(rng)
		ours, err := ParseSchedule(line)
		theirs, err2 := cron.ParseStandard(line)
		if err2 != nil {
			t.Fatalf("%q: %v", line, err2)
		}
		at := time.Unix(rng.Int64N(4e9), 0).UTC()
		want := theirs.Next(at)
		if err != nil {
			if !want.IsZero() && want.Before(at.AddDate(5, 0, 0)) {
				t.Fatalf("%q: %v, and %v is one of its times", line, err, want)
			}
			continue
		}
		for range 5 {
			got, ok := ours.Next(at)
			if want = theirs.Next(at); want.IsZero() {
				break // it searches five years only
			}
			if !ok || !got.Equal(want) {
				t.Fatalf("%q after %v: %v, want %v", line, at, got, want)
			}
			at = got
		}
	}
}

func randomLine(rng *rand.Rand) string {
	item := func(lo, hi int) string {
		a, b := lo+rng.IntN(hi-lo+1), lo+rng.IntN(hi-lo+1)
		switch rng.IntN(5) {
		case 0:
			return fmt.Sprintf("%d-%d", min(a, b), max(a, b))
		case 1:
			return fmt.Sprintf("%d-%d/%d", min(a, b), max(a, b), 1+rng.IntN(5))
		case 2:
			return fmt.Sprintf("%d,%d", a, b)
		}
		return fmt.Sprint(a)
	}
	star := func(p int, s string) string {
		if rng.IntN(100) < p {
			return "*"
		}
		return s
	}
	month := item(1, 12)
	if rng.IntN(4) == 0 {
		month = []string{"jan", "FEB", "mar-jun", "Sep,dec"}[rng.IntN(4)]
	}
	day := item(0, 6)
	if rng.IntN(4) == 0 {
		day = []string{"mon", "SUN", "tue-fri", "Sat,wed"}[rng.IntN(4)]
	}
	minute := item(0, 59)
	if rng.IntN(3) == 0 {
		minute = "*/7"
	}
	return strings.Join([]string{star(20, minute), star(40, item(0, 23)), star(50, item(1, 31)), star(50, month), star(50, day)}, " ")
}

func TestScheduleInZones(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no time zones on this machine")
	}
	for _, c := range []struct{ line, after, want string }{
		{"30 2 * * *", "2026-03-28T12:00:00+01:00", "2026-03-30T02:30:00+02:00"}, // 02:30 does not exist on the 29th
		{"30 2 * * *", "2026-10-24T12:00:00+02:00", "2026-10-25T02:30:00+02:00"}, // exists twice: the first
		{"0 * * * *", "2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00"},
		{"0 0 29 2 *", "2097-01-01T00:00:00+01:00", "2104-02-29T00:00:00+01:00"}, // 2100 is no leap year
		{"0 12 13 * fri", "2026-11-01T00:00:00+01:00", "2026-11-06T12:00:00+01:00"},
		{"0 0 * * 7", "2026-11-20T00:00:00+01:00", "2026-11-22T00:00:00+01:00"},
		{"@weekly", "2026-11-20T00:00:00+01:00", "2026-11-22T00:00:00+01:00"},
	} {
		after, _ := time.Parse(time.RFC3339, c.after)
		s, err := ParseSchedule(c.line)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := s.Next(after.In(berlin))
		if !ok || got.Format(time.RFC3339) != c.want {
			t.Errorf("%q after %s: %s, want %s", c.line, c.after, got.Format(time.RFC3339), c.want)
		}
	}
}

func TestBadSchedules(t *testing.T) {
	for line, want := range map[string]string{
		"":               "0 fields",
		"* * * *":        "4 fields",
		"60 * * * *":     "minute",
		"* 24 * * *":     "hour",
		"* * 0 * *":      "day of month",
		"* * * 13 *":     "month",
		"* * * * 8":      "day of week",
		"5-1 * * * *":    "backwards",
		"*/0 * * * *":    "step",
		"*/99 * * * *":   "step",
		"1,,2 * * * *":   "minute",
		"+1 * * * *":     "minute",
		"x * * * *":      "minute",
		"0 0 30 feb *":   "never",
		"0 0 31 4,6,9 *": "never",
	} {
		if _, err := ParseSchedule(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want something about %q", line, err, want)
		}
	}
}

func FuzzParseSchedule(f *testing.F) {
	for _, s := range []string{"*/10 * * * *", "0 0 1,15 jan-mar mon", "@daily", "0-59/7 1 * * 7"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		s, err := ParseSchedule(line)
		if err != nil {
			return
		}
		at := time.Unix(1_800_000_000, 0).UTC()
		next, ok := s.Next(at)
		if !ok || !next.After(at) || next.Second() != 0 {
			t.Fatalf("%q: %v, %t", line, next, ok)
		}
	})
}
