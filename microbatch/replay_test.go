package microbatch

import (
	"testing"

	"github.com/sluice-stream/sluice/batch"
)

// What is due next is a lower bound: who has run for long may remember a window that
// was taken back, who has read its state anew does not.
func TestAReplayMaySayThatLessIsDue(t *testing.T) {
	for _, c := range []struct {
		name               string
		was, is            batch.EventTime
		wasTimer, hasTimer batch.EventTime
		ok                 bool
	}{
		{"same", 17, 17, 5, 5, true},
		{"window later", 17, 18, 0, 0, true},
		{"no window left", 17, batch.EndOfTime, 0, 0, true},
		{"window sooner", 18, 17, 0, 0, false},
		{"window from nothing", batch.EndOfTime, 17, 0, 0, false},
		{"timer later", 17, 17, 5, 6, true},
		{"no timer left", 17, 17, 5, 0, true},
		{"timer sooner", 17, 17, 6, 5, false},
		{"timer from nothing", 17, 17, 0, 5, false},
	} {
		err := Compare(Committed{NextDue: c.was, NextWake: c.wasTimer}, Result{NextDue: c.is, NextWake: c.hasTimer})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
