package functions

import (
	"math/rand/v2"
	"testing"

	"github.com/sluice-stream/sluice/planner/expr/civil"
)

// What is kept from one row to the next never shows: every text is the one that is
// written from nothing, across days, changes of a zone's clock and other patterns.
func TestStamperKeepsWhatIsTheSame(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 1))
	patterns := []string{
		"yyyy-MM-dd", "HH:mm", "yyyy-MM-dd HH:mm:ss.SSSSSS", "hh a", "EEEE D Q", "yy M d H m s", "XXX", "yyyy-MM-dd HH z", "'day' dd[ HH]", "x", "VV ss", "uuuu K k", "GG", "",
	}
	for _, zone := range []string{"UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"} {
		z, err := civil.Load(zone)
		if err != nil {
			t.Fatal(err)
		}
		s := &stamper{zone: z}
		us, pattern := int64(0), patterns[0]
		for range 20000 {
			switch r.IntN(12) {
			case 0:
				us = r.Int64N(4e15) - 2e15
			case 1:
				us = 1_427_590_800_000_000 + r.Int64N(2*civil.Hour) - civil.Hour // summer time begins in Berlin
			case 2:
				us -= us % civil.Day
			case 3:
				us--
			case 4:
				pattern = patterns[r.IntN(len(patterns))]
			default:
				us += r.Int64N(10 * civil.Second)
			}
			f, err := compilePattern(pattern)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.append([]byte("x"), us, pattern)
			if want := string(f.append([]byte("x"), us, z)); err != nil || string(got) != want {
				t.Fatalf("%s, '%s' of %d: %q %v, want %q", zone, pattern, us, got, err, want)
			}
		}
	}
}
