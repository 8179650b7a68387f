package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/sluice-stream/sluice"
)

// abandonWait is how long a second interrupt waits for what it stopped. Nothing
// is lost by leaving earlier: it is as if the process was killed.
const abandonWait = 3 * time.Second

// What interrupts end. They are reported as errors where statements or batches
// were left undone.
var (
	errInterrupted = errors.New("interrupted: the statement was not finished")
	errAbandoned   = errors.New("stopped at once: what was not committed is run again at the next start")
	errStopping    = errors.New("stopping") // ends the script, told to nobody
)

// script is a run of statements that interrupts can end.
type script struct {
	env     *environment
	s       *sluice.Session
	stopped atomic.Bool // by the first interrupt
	at      atomic.Bool // at once, by the second
}

// run executes statements and waits for the queries that they started. The first
// interrupt lets each query finish its running batch and starts no statement
// more; a statement that runs once is cancelled if cancels. The second stops all
// at once; nothing is lost either way.
func (r *script) run(ctx context.Context, text string, cancels bool, show func(context.Context, *sluice.Result) error, started func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := onInterrupt(func() {
		r.stopped.Store(true)
		if cancels && !r.running() {
			cancel()
			return
		}
		fmt.Fprintln(r.env.err, "\nstopping after the running batch; interrupt again to stop at once")
		r.s.StopAll()
	}, func() {
		if !r.at.CompareAndSwap(false, true) {
			return
		}
		time.AfterFunc(abandonWait, func() {
			fmt.Fprintln(r.env.err, "sluice:", errAbandoned)
			os.Exit(exitQuery)
		})
		r.s.AbandonAll()
		cancel()
	})
	defer stop()
	err := r.s.Run(ctx, text, func(res *sluice.Result) error {
		err := show(ctx, res)
		// A script that was cancelled ends with the next statement, if there is one,
		// which says that something was left undone.
		if err == nil && r.stopped.Load() && ctx.Err() == nil {
			err = errStopping
		}
		return err
	})
	if err != nil {
		// No statement follows; a query that started beside the interrupt ends too.
		r.s.StopAll()
	} else {
		started()
	}
	return r.outcome(err, r.s.AwaitAll(context.WithoutCancel(ctx)))
}

// running reports whether the script has started a query that has not ended.
func (r *script) running() bool {
	for _, q := range r.s.Queries() {
		if st := q.Status(); st != "ended" && st != "failed" {
			return true
		}
	}
	return false
}

// outcome is what the run ended with: the interrupts of the user instead of what
// followed from them.
func (r *script) outcome(script, queries error) error {
	switch {
	case r.at.Load():
		return errAbandoned
	case errors.Is(script, errStopping):
		script = nil
	case r.stopped.Load() && errors.Is(script, context.Canceled):
		script = errInterrupted
	}
	return errors.Join(script, queries)
}
