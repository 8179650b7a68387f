package driver

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/microbatch"
)

const gib = 1 << 30

func TestAdmissionIsFirstInFirstOut(t *testing.T) {
	workers := []int64{8 * gib, 4 * gib}
	a := NewAdmission(3, func() []int64 { return workers })
	join := func(name string, bytes int64) *admit {
		t.Helper()
		q, err := a.join(name, bytes)
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	in := func(q *admit) bool {
		select {
		case <-q.in:
			return true
		default:
			return false
		}
	}
	says := func(q *admit, want string) {
		t.Helper()
		if got := a.why(q); got != want {
			t.Errorf("%s waits for %q, want %q", q.name, got, want)
		}
	}
	one, two := join("one", 3*gib), join("two", 0)
	big, small := join("big", 2*gib), join("small", 1*gib)
	if !in(one) || !in(two) || in(big) || in(small) {
		t.Fatal("the first two run, of the others none: the small one does not overtake the big one")
	}
	says(one, "")
	says(big, "queued: 2 GiB on each worker, where 1 GiB of 4 GiB are not promised to others")
	says(small, "queued: 1 before it, the first is big")
	workers = []int64{8 * gib} // the small worker leaves
	a.Look()
	if !in(big) || in(small) {
		t.Fatal("there is room for the big one, and for three at a time")
	}
	says(small, "queued: as many queries run as may at a time: 3")
	a.SetMost(4)
	if !in(small) {
		t.Fatal("four may run")
	}
	if _, err := a.join("never", 9*gib); !errors.Is(err, ErrNeverAdmitted) || !strings.Contains(err.Error(), "query.memory-limit 9 GiB") {
		t.Errorf("more than any worker has: %v", err)
	} else if kind, _ := batch.KindOf(err); kind != batch.User {
		t.Errorf("it is an error of kind %s", kind)
	}
	// What was within reach when it came, and is not any more, waits and says so.
	late := join("late", 6*gib)
	workers = []int64{5 * gib}
	for _, q := range []*admit{one, two, big, small} {
		a.leave(q)
		a.leave(q) // twice is once
	}
	says(late, "queued: 6 GiB on each worker are more than any has, the largest one 5 GiB")
	workers = nil
	says(late, "queued: "+waitingForWorkers)
	a.leave(late)
	if len(a.mu.admits)+len(a.mu.waiting) > 0 {
		t.Error("somebody is left")
	}
}

func TestQueriesWaitForOneAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := newBed(t, 100), newBed(t, 70)
		defer first.close()
		defer second.close()
		a := NewAdmission(1, func() []int64 { return []int64{gib} })
		first.opt.Admission, second.opt.Admission = a, a
		q := first.start()
		first.must(q.ProcessAllAvailable(t.Context()))
		waits := second.start()
		synctest.Wait()
		if got, want := waits.Waiting(), "queued: as many queries run as may at a time: 1"; got != want {
			t.Errorf("the second query waits for %q, want %q", got, want)
		}
		if second.worker.plan != nil {
			t.Error("the second query's plan is on its worker")
		}
		var done atomic.Bool
		go func() { // joined below: the bubble waits for it
			second.must(waits.ProcessAllAvailable(t.Context()))
			done.Store(true)
		}()
		synctest.Wait()
		if done.Load() {
			t.Error("the second query has run beside the first")
		}
		first.must(q.Stop(t.Context(), false))
		synctest.Wait()
		if !done.Load() || waits.Waiting() != "" {
			t.Errorf("the second query waits for %q", waits.Waiting())
		}
		second.out.check(t, 70)
		second.must(waits.Stop(t.Context(), false))
	})
}

// TestAQueryEndsWhileItWaits: it does not have to begin for that.
func TestAQueryEndsWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAdmission(1, func() []int64 { return []int64{gib} })
		block, err := a.join("block", 0)
		if err != nil {
			t.Fatal(err)
		}
		b := newBed(t, 100)
		defer b.close()
		b.opt.Admission = a
		b.opt.Protocol.Trigger.Kind = microbatch.AvailableNow
		q := b.start()
		synctest.Wait()
		b.must(q.Stop(t.Context(), false))
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			synctest.Wait()
			cancel()
		}()
		if _, err := RunBatch(ctx, b.opt); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "as many queries run") {
			t.Errorf("a query that runs once ends with %v", err)
		}
		a.leave(block)
		b.must(b.start().Await(t.Context()))
		b.out.check(t, 100)
		if _, err := RunBatch(t.Context(), b.opt); err != nil {
			t.Fatal(err)
		}
		if len(a.mu.admits)+len(a.mu.waiting) > 0 {
			t.Error("somebody is left")
		}
	})
}

// TestQuotasReachTheWorkers: and a query of a cluster waits for a worker that has so much.
func TestQuotasReachTheWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		c.opt.Quota = transport.Quota{Weight: 3, Memory: gib}
		c.opt.Admission = NewAdmission(0, func() (out []int64) {
			for range c.members.usable() {
				out = append(out, 2*gib)
			}
			return out
		})
		q := c.start()
		synctest.Wait()
		if got := q.Waiting(); got != "queued: "+waitingForWorkers {
			t.Errorf("without a worker it waits for %q", got)
		}
		w := c.join("a")
		c.grow(q, 100)
		if w.quota != c.opt.Quota {
			t.Errorf("the worker is told of %+v", w.quota)
		}
		c.must(q.Stop(t.Context(), false))
	})
}
