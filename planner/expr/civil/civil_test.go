package civil

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestDates compares the calendar with package time's.
func TestDates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		days := rapid.Int64Range(-1_000_000, 3_000_000).Draw(t, "days")
		want := time.Unix(days*86400, 0).UTC()
		y, m, d := FromDays(days)
		if y != want.Year() || m != int(want.Month()) || d != want.Day() || ToDays(y, m, d) != days {
			t.Fatalf("day %d is %d-%d-%d, want %v", days, y, m, d, want)
		}
		wy, ww := want.ISOWeek()
		if iy, iw := ISOWeek(days); iy != wy || iw != ww {
			t.Fatalf("%v is in week %d-%d, want %d-%d", want, iy, iw, wy, ww)
		}
		if YearDay(days) != want.YearDay() || (Weekday(days)+1)%7 != int(want.Weekday()) {
			t.Fatalf("%v: day of year %d, weekday %d", want, YearDay(days), Weekday(days))
		}
		if got, ok := ParseDate(string(AppendDate(nil, days))); !ok || got != days {
			t.Fatalf("%s reads as %d", AppendDate(nil, days), got)
		}
	})
}

// TestZones compares wall clocks with package time's, also across changes of the offset.
func TestZones(t *testing.T) {
	for _, name := range []string{"America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "+05:30"} {
		z, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		loc, err := time.LoadLocation(name)
		if err != nil {
			loc = time.FixedZone(name, 19800)
		}
		rapid.Check(t, func(t *rapid.T) {
			us := rapid.Int64Range(0, 2_000_000_000).Draw(t, "s")*Second + 7
			at := time.UnixMicro(us).In(loc)
			want := time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), time.UTC).UnixMicro()
			if got := z.Local(us); got != want {
				t.Fatalf("%s: %v is %v on the clock", name, at, time.UnixMicro(got).UTC())
			}
			if back := z.Instant(want); z.Local(back) != want {
				t.Fatalf("%s: the clock %v is %v", name, time.UnixMicro(want).UTC(), time.UnixMicro(back).In(loc))
			}
		})
	}
}

// TestZoneChanges pins clocks that a change repeats or leaves out.
func TestZoneChanges(t *testing.T) {
	z, err := Load("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ clock, want string }{
		{"2024-03-10 02:30:00", "2024-03-10 07:30:00"}, // left out: moves on by an hour
		{"2024-11-03 01:30:00", "2024-11-03 05:30:00"}, // twice: the earlier
		{"2024-07-01 12:00:00", "2024-07-01 16:00:00"},
	} {
		st, _ := ParseStamp(c.clock)
		if got := string(AppendClock(nil, z.Instant(st.Local))); got != c.want {
			t.Errorf("%s is %s, want %s", c.clock, got, c.want)
		}
	}
}

// TestIntervals pins texts of intervals.
func TestIntervals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		us := rapid.Int64Range(-1<<55, 1<<55).Draw(t, "us")
		if got, ok := ParseDuration(string(AppendDuration(nil, us))); !ok || got != us {
			t.Fatalf("%s reads as %d", AppendDuration(nil, us), got)
		}
		m := rapid.Int64Range(-1<<30, 1<<30).Draw(t, "months")
		if got, ok := ParseMonths(string(AppendMonths(nil, m))); !ok || got != m {
			t.Fatalf("%s reads as %d", AppendMonths(nil, m), got)
		}
	})
}
