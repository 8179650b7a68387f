package driver

import (
	"errors"
	"time"

	"github.com/sluice-stream/sluice/batch"
)

// errNoAnswer is why a task is given up whose worker does not even answer its Cancel.
var errNoAnswer = errors.New("the worker does not answer")

// watchLocked sets the timer that looks for overdue tasks, if it is not set.
func (x *execution) watchLocked() {
	if x.d.opt.TaskTimeout == 0 || x.mu.watch != nil || x.mu.over || len(x.mu.underWay) == 0 {
		return
	}
	now := x.d.clock.Now()
	wait := x.d.opt.TaskTimeout
	for _, all := range []map[taskRef]attempt{x.mu.underWay, x.mu.second} {
		for _, a := range all {
			wait = min(wait, x.deadline(a).Sub(now))
		}
	}
	x.mu.watch = x.d.clock.AfterFunc(max(wait, time.Millisecond), x.overdue)
}

// deadline is when a task is cancelled, and after that when it is given up.
func (x *execution) deadline(a attempt) time.Time {
	d := x.d.opt.TaskTimeout
	if a.overdue {
		d += x.d.opt.CancelWait
	}
	return a.since.Add(d)
}

// overdue cancels the tasks that took too long, whose answer then leads to
// another try, and gives up the run if a cancelled one does not answer: whatever
// its worker holds may change at any time, so nothing can be built on it.
func (x *execution) overdue() {
	x.mu.Lock()
	x.mu.watch = nil
	now := x.d.clock.Now()
	var late []order
	lost := false
	for _, all := range []map[taskRef]attempt{x.mu.underWay, x.mu.second} {
		for t, a := range all {
			if x.deadline(a).After(now) {
				continue
			}
			if a.overdue {
				lost = true
				continue
			}
			a.overdue = true
			all[t] = a
			late = append(late, x.cancelOf(t, a))
		}
	}
	x.watchLocked()
	x.mu.Unlock()
	x.cancel(late)
	if lost {
		x.giveUp(batch.ExternalError(errNoAnswer, true))
	}
}
