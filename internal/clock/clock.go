package clock

import (
	"context"
	"time"
)

// Clock tells the time and calls back later.
type Clock interface {
	// Now returns the current time, with a monotonic reading where there is one.
	Now() time.Time
	// AfterFunc runs f once, d from now, unless stop is called before. stop
	// reports whether it prevented the run; it does not wait for a run that has
	// begun. f must be short: it may run on the clock's own goroutine.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// System returns the machine's clock.
func System() Clock { return system{} }

type system struct{}

var _ Clock = system{}

func (system) Now() time.Time { return now() }

func (system) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	return time.AfterFunc(d, f).Stop
}

// Wait returns after d on the clock, or with ctx's error as soon as ctx is
// done. It is the one way to pause in Sluice: it can be interrupted, and a
// Manual clock makes it instant.
func Wait(ctx context.Context, c Clock, d time.Duration) error {
	if err := ctx.Err(); err != nil || d <= 0 {
		return err
	}
	done := make(chan struct{})
	stop := c.AfterFunc(d, func() { close(done) })
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		stop()
		return ctx.Err()
	}
}
