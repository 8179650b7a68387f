package raftlog

import (
	"fmt"
	"sync"
	"time"
)

// watchdog notices disk operations that do not return. Raft's heartbeats come from
// goroutines that never touch the disk, so a leader whose disk hangs would lead for
// ever and commit nothing (hashicorp/raft #503).
type watchdog struct {
	limit time.Duration
	bark  func(error)
	stop  chan struct{}
	done  chan struct{}

	mu struct {
		sync.Mutex
		next uint64
		ops  map[uint64]diskOp
	}
}

type diskOp struct {
	what  string
	since time.Time
}

// newWatchdog starts a goroutine that Close ends.
func newWatchdog(limit time.Duration, bark func(error)) *watchdog {
	w := &watchdog{limit: limit, bark: bark, stop: make(chan struct{}), done: make(chan struct{})}
	w.mu.ops = map[uint64]diskOp{}
	go w.run()
	return w
}

// begin notes an operation until done is called. A nil watchdog notes nothing.
func (w *watchdog) begin(what string) (done func()) {
	if w == nil {
		return func() {}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.next++
	n := w.mu.next
	w.mu.ops[n] = diskOp{what, time.Now()}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.mu.ops, n)
	}
}

func (w *watchdog) run() {
	defer close(w.done)
	t := time.NewTicker(max(w.limit/8, time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-t.C:
		}
		if err := w.overdue(); err != nil {
			w.bark(err)
			return
		}
	}
}

// overdue names the operation that has been under way for longest, if for too long.
func (w *watchdog) overdue() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var oldest diskOp
	for _, op := range w.mu.ops {
		if oldest.what == "" || op.since.Before(oldest.since) {
			oldest = op
		}
	}
	if took := time.Since(oldest.since); oldest.what != "" && took > w.limit {
		return fmt.Errorf("%w: to %s takes longer than %s", ErrHung, oldest.what, w.limit)
	}
	return nil
}

// Close ends the goroutine and waits for it.
func (w *watchdog) Close() {
	close(w.stop)
	<-w.done
}
