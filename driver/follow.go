package driver

import (
	"context"
	"fmt"
	"io"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
)

// The rows of a one-shot query are read while its tasks make them. An attempt that
// fails is tried again as long as none of its rows were given out; after that the
// query fails, since nobody could take them back.

// following is which attempt the reader reads.
type following struct {
	task   taskRef
	given  bool               // rows of it were given out
	cancel context.CancelFunc // tells the reader that it has failed; nil for no attempt
}

// place is where an attempt's rows are read.
type place struct {
	node   transport.NodeID
	number int
	live   context.Context
}

// awaitTask waits until a task of the client's stage is under way, or done, and
// marks it as the one that is read; io.EOF after the last one.
func (x *execution) awaitTask(ctx context.Context, stage, task int) (place, error) {
	var at place
	err := x.await(ctx, func() (bool, error) {
		r, t := &x.mu.stages[stage], taskRef{stage, task}
		a, running := x.mu.underWay[t]
		done := task < len(r.done) && r.done[task]
		switch {
		case x.mu.err != nil:
			return false, x.mu.err
		case done:
			at.node, at.number = r.nodes[task], x.mu.tries[t]
		case running:
			at.node, at.number = a.node, a.number
		case task >= len(r.done) || x.mu.over: // a stage that was skipped has no rows
			return false, io.EOF
		default:
			return false, nil
		}
		x.unfollowLocked()
		given := x.givenLocked(t)
		x.mu.follow = following{task: t, given: given}
		at.live, x.mu.follow.cancel = context.WithCancel(context.Background())
		if given && !done { // it was cut off: another attempt would give them again
			return false, fmt.Errorf("stage %d, partition %d: %w after its first rows were read", stage, task, batch.ErrGivenUp)
		}
		return true, nil
	})
	return at, err
}

// awaitEnd waits until an attempt is done, or ErrGivenUp if it has failed and is tried again.
func (x *execution) awaitEnd(ctx context.Context, stage, task, number int) error {
	return x.await(ctx, func() (bool, error) {
		t := taskRef{stage, task}
		a, running := x.mu.underWay[t]
		switch {
		case x.mu.stages[stage].done[task]:
			return true, nil
		case x.mu.err != nil:
			return false, x.mu.err
		case running && a.number == number:
			return false, nil
		}
		return false, batch.ErrGivenUp
	})
}

// await asks, with the lock held, until the answer is yes or an error.
func (x *execution) await(ctx context.Context, ask func() (bool, error)) error {
	for {
		x.mu.Lock()
		ok, err := ask()
		over := x.mu.over
		x.mu.Unlock()
		if ok || err != nil {
			return err
		}
		if over {
			return io.ErrUnexpectedEOF
		}
		select {
		case <-x.moved:
		case <-x.ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// give says that rows of an attempt are about to be given out; false if it has
// failed: then they must not be.
func (x *execution) give(stage, task, number int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := taskRef{stage, task}
	a, running := x.mu.underWay[t]
	if x.mu.err != nil || !x.mu.stages[stage].done[task] && !(running && a.number == number) {
		return false
	}
	x.mu.follow.given = true
	return true
}

// givenLocked reports whether rows of a task were given out.
func (x *execution) givenLocked(t taskRef) bool { return x.mu.follow.given && x.mu.follow.task == t }

// unfollow tells the reader of a task that its attempt has failed.
func (x *execution) unfollow(t taskRef) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.mu.follow.task == t {
		x.unfollowLocked()
	}
	if x.mu.stages[t.stage].done != nil {
		x.movedLocked()
	}
}

func (x *execution) unfollowLocked() {
	if x.mu.follow.cancel != nil {
		x.mu.follow.cancel()
		x.mu.follow.cancel = nil
	}
}

// movedLocked wakes the reader of the client's stage.
func (x *execution) movedLocked() {
	select {
	case x.moved <- struct{}{}:
	default:
	}
}

// consumed lets tasks run on, up to the window ahead of the reader.
func (x *execution) consumed(ctx context.Context, tasks int) {
	x.mu.Lock()
	x.mu.read = tasks
	x.unfollowLocked()
	x.mu.follow = following{}
	sends := x.takeLocked()
	x.mu.Unlock()
	x.send(ctx, sends)
}
