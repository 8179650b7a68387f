package text

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// Whatever was read before, a timestamp is what it is to who has read none: also where
// only one digit, the sign behind it or the way that a minute is written differs.
func TestMinute(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	var m minute
	for range 50_000 {
		text := pick("2024-02-29", "2024-02-28", "2023-02-29", "2024-2-29", "1969-12-31", "0000-01-01", "2024-02-29 ") + pick("T", " ", " ", "t", "x") +
			pick("23:59", "23:58", "3:59", "24:00", "00:00", "00:0") + pick(":", ":", ":", "", ";") + pick("59", "00", "07", "60", "7", "5x", "") +
			pick("", ".5", ".123456", ".123456789", ".1234567891", ".", ".1x", ",5") + pick("", "", "Z", "z", " Z", "+01:00", "-0030", "ZZ")
		got, gotErr := m.parse([]byte(text))
		want, wantErr := ParseTimestamp([]byte(text), time.UTC)
		if int64(got) != want || fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
			t.Fatalf("%q is %d (%v), want %d (%v)", text, got, gotErr, want, wantErr)
		}
	}
}
