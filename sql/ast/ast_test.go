package ast

import (
	"errors"
	"fmt"
	"testing"

	"github.com/sluice-stream/sluice/batch"
)

func TestParseInterval(t *testing.T) {
	for text, want := range map[string]string{
		"10 seconds":           "10000000us SECOND-SECOND",
		"1 hour 2 minutes":     "3720000000us HOUR-MINUTE",
		"interval 5 minutes":   "300000000us MINUTE-MINUTE",
		"INTERVAL -1 day":      "-86400000000us DAY-DAY",
		"20ms":                 "20000us SECOND-SECOND",
		"1h30m":                "5400000000us HOUR-MINUTE",
		"1.5 s":                "1500000us SECOND-SECOND",
		"0.000001 seconds":     "1us SECOND-SECOND",
		"2 weeks":              "1209600000000us DAY-DAY",
		"1 year 2 months":      "14mo YEAR-MONTH",
		"1 quarter":            "3mo MONTH-MONTH",
		"-1 year -2 mons":      "-14mo YEAR-MONTH",
		"1 month 1 day":        "error",
		"":                     "error",
		"soon":                 "error",
		"5":                    "error",
		"5 parsecs":            "error",
		"1.5 months":           "error",
		"1.0000001 s":          "error",
		"99999999999999 days":  "error",
		"99999999999 years":    "error",
		"9223372036854775808s": "error",
	} {
		a, err := ParseInterval(text)
		got := fmt.Sprintf("%dus %s-%s", a.Micros, a.From, a.To)
		switch {
		case err != nil:
			got = "error"
		case a.YearMonth:
			got = fmt.Sprintf("%dmo %s-%s", a.Months, a.From, a.To)
		}
		if got != want {
			t.Errorf("%q: %s (%v), want %s", text, got, err, want)
		}
	}
}

func TestIntervalRanges(t *testing.T) {
	for _, c := range []struct {
		value, from, to string
		months, micros  int64
		bad             bool
	}{
		{"1-2", "YEAR", "MONTH", 14, 0, false},
		{"-1-2", "YEAR", "MONTH", -14, 0, false},
		{"3 04:05:06.5", "DAY", "SECOND", 0, ((3*24+4)*60+5)*60e6 + 6_500_000, false},
		{"3 04", "DAY", "HOUR", 0, (3*24 + 4) * 3600e6, false},
		{"04:05", "HOUR", "MINUTE", 0, (4*60 + 5) * 60e6, false},
		{"-04:05", "MINUTE", "SECOND", 0, -(4*60 + 5) * 1e6, false},
		{"04:05", "DAY", "SECOND", 0, 0, true},
		{"1", "SECOND", "DAY", 0, 0, true},
		{"1-2", "MONTH", "DAY", 0, 0, true},
		{"1:x", "HOUR", "MINUTE", 0, 0, true},
	} {
		i := &Interval{Parts: []IntervalPart{{Value: c.value, Unit: c.from, To: c.to}}}
		a, err := i.Amount()
		if (err != nil) != c.bad || a.Months != c.months || a.Micros != c.micros {
			t.Errorf("%+v: %+v, %v", c, a, err)
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"price", "bidder", "auction", "ts", "dateTime", "SELECT", "csv.header", "csv.quote", "json.quote"}
	for name, want := range map[string]string{
		"prise": "price", "pirce": "price", "biddr": "bidder", "AUCTOIN": "auction", "tss": "ts",
		"date_time": "dateTime", "selct": "SELECT", "zzz": "", "x": "", "pr": "", "": "", "Header": "csv.header", "quote": "", ".header": "",
	} {
		if got := Nearest(name, words); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

// TestPosErrorKind holds that an error about the text is the user's, also
// behind wrapping and whatever its cause is.
func TestPosErrorKind(t *testing.T) {
	cause := errors.New("boom")
	err := fmt.Errorf("bind: %w", Errorf(Pos{Line: 3, Col: 4}, "bad: %w", cause).WithHint("try again"))
	if kind, _ := batch.KindOf(err); kind != batch.User {
		t.Errorf("kind is %s", kind)
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is lost")
	}
	if got, want := err.Error(), "bind: 3:4: bad: boom; try again"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
