package driver

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
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
	for _, a := range x.mu.underWay {
		wait = min(wait, x.deadline(a).Sub(now))
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
	for t, a := range x.mu.underWay {
		if x.deadline(a).After(now) {
			continue
		}
		if a.overdue {
			lost = true
			continue
		}
		a.overdue = true
		x.mu.underWay[t] = a
		late = append(late, order{ref: t, node: a.node, msg: transport.Run{Spec: batch.TaskSpec{Task: x.taskID(t, a.number)}}})
	}
	x.watchLocked()
	x.mu.Unlock()
	slices.SortFunc(late, func(a, b order) int {
		return cmp.Or(cmp.Compare(a.ref.stage, b.ref.stage), cmp.Compare(a.ref.partition, b.ref.partition))
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stop := x.d.clock.AfterFunc(x.d.opt.CancelWait, cancel)
	defer stop()
	for _, o := range late {
		_ = x.d.tr.Send(ctx, o.node, transport.Cancel{Task: o.msg.Spec.Task}) // if it is gone, it does not answer either
	}
	if lost {
		x.giveUp(batch.ExternalError(errNoAnswer, true))
	}
}
