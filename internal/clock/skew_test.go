//go:build invariants && linux

package clock

import (
	"testing"
	"time"
)

func TestStepMovesTheWallClockAlone(t *testing.T) {
	for _, seconds := range []int64{3600, -3600, 86400, -1, 0} {
		before := time.Now()
		after := step(before, seconds)
		if d := after.Sub(before); d != 0 {
			t.Errorf("a step of %d s moves the monotonic clock by %s", seconds, d)
		}
		if d := after.Round(0).Sub(before.Round(0)); d != time.Duration(seconds)*time.Second {
			t.Errorf("a step of %d s moves the wall clock by %s", seconds, d)
		}
	}
}
