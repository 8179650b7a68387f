package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/planner/physical"
)

// Speculation says when a task that takes far longer than its siblings is begun a second
// time, on another worker. The names and defaults are those of Spark.
type Speculation struct {
	On bool
	// Quantile is the part of a stage's tasks that must be done first; default 0.9.
	Quantile float64
	// Multiplier is how many times the median of those a task must have taken; default 3.
	Multiplier float64
	// MinRuntime is how long it must have taken in any case; default 100 ms.
	MinRuntime time.Duration
}

func (s Speculation) withDefaults() Speculation {
	s.Quantile = cmp.Or(s.Quantile, 0.9)
	s.Multiplier = cmp.Or(s.Multiplier, 3)
	s.MinRuntime = cmp.Or(s.MinRuntime, 100*time.Millisecond)
	return s
}

// Validate says what is wrong with the limits.
func (s Speculation) Validate() error {
	if s.Quantile <= 0 || s.Quantile > 1 || s.Multiplier < 1 || s.MinRuntime < 0 {
		return errors.New("speculation needs a quantile above 0 and up to 1, a multiplier of at least 1 and a runtime that is not negative")
	}
	return nil
}

// twice reports whether tasks of a stage may be begun a second time: another worker
// can run them, nothing that they do is seen outside before one is adopted, and none
// of what they read or write is another attempt's. So not where state is: it lies with
// one worker. Not where rows go to the client while they are made. Rows that are looked up
// are the same for all attempts at a batch.
func (d *deployment) twice(s *physical.Stage, tasks int) bool {
	_, client := s.Output.(physical.ToClient)
	return d.opt.Speculation.On && len(d.workers) > 1 && tasks > 1 && len(s.Stateful) == 0 && !client
}

// speculateLocked begins stragglers a second time, and sets the timer for those that
// are not late enough yet. Exactly one attempt is adopted: the first that answers. The
// other one is cancelled and not waited for; what it has prepared all the same is
// aborted when it says so (C19).
func (x *execution) speculateLocked() []order {
	if !x.d.opt.Speculation.On || x.mu.over || x.mu.err != nil {
		return nil
	}
	now := x.d.clock.Now()
	var late []taskRef
	next := time.Duration(math.MaxInt64)
	limits := make([]time.Duration, len(x.mu.stages))
	for i := range x.mu.stages {
		limits[i] = x.mu.stages[i].lateAfter(x.d.opt.Speculation)
	}
	for t, a := range x.mu.underWay {
		after := limits[t.stage]
		if _, two := x.mu.second[t]; two || after == 0 || x.mu.tries[t]+1 >= x.d.opt.TaskAttemptsMax {
			continue
		}
		if wait := after - now.Sub(a.since); wait > 0 {
			next = min(next, wait)
			continue
		}
		late = append(late, t)
	}
	slices.SortFunc(late, func(a, b taskRef) int {
		return cmp.Or(cmp.Compare(a.stage, b.stage), cmp.Compare(a.partition, b.partition))
	})
	var out []order
	for _, t := range late {
		if node, ok := x.elsewhereLocked(t); ok && !x.fullLocked() {
			x.mu.tries[t]++
			number := x.mu.tries[t]
			x.mu.second[t] = attempt{number: number, node: node, since: now}
			x.mu.load[node]++
			out = append(out, order{ref: t, node: node, msg: x.messageLocked(t, number)})
		}
	}
	if x.mu.hunt != nil {
		x.mu.hunt()
		x.mu.hunt = nil
	}
	if next < math.MaxInt64 {
		x.mu.hunt = x.d.clock.AfterFunc(max(next, time.Millisecond), x.speculate)
	}
	return out
}

// speculate is the timer's.
func (x *execution) speculate() {
	x.mu.Lock()
	orders := x.speculateLocked()
	x.mu.Unlock()
	ctx, end := x.d.bounded()
	defer end()
	x.send(ctx, orders)
}

// bounded is a context for what is sent outside of any request.
func (d *deployment) bounded() (ctx context.Context, end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	stop := d.clock.AfterFunc(d.opt.CancelWait, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// noteTook remembers how long a task has taken, in order.
func (r *stageRun) noteTook(d time.Duration) {
	if !r.twice {
		return
	}
	at, _ := slices.BinarySearch(r.took, d)
	r.took = slices.Insert(r.took, at, d)
}

// lateAfter is how long a task of the stage may take before it is a straggler; 0 while
// that is not known, and where none is begun again.
func (r *stageRun) lateAfter(s Speculation) time.Duration {
	if n := len(r.took); n == 0 || float64(n) < math.Floor(s.Quantile*float64(r.tasks)) {
		return 0
	}
	median := float64(r.took[len(r.took)/2])
	return max(time.Duration(s.Multiplier*median), s.MinRuntime, 1)
}

// elsewhereLocked is the worker with the least to do that is not the one where a task runs.
func (x *execution) elsewhereLocked(t taskRef) (best transport.NodeID, ok bool) {
	at := x.mu.underWay[t].node
	for _, w := range x.d.workers {
		if w == at || x.mu.load[w] >= x.d.opt.TasksPerWorker || x.d.isLost(w) {
			continue
		}
		if !ok || x.mu.load[w] < x.mu.load[best] {
			best, ok = w, true
		}
	}
	return best, ok
}

// loserLocked takes the other attempt at an adopted task off the list: nobody waits for
// its answer.
func (x *execution) loserLocked(t taskRef) []order {
	a, ok := x.mu.underWay[t]
	if !ok {
		return nil
	}
	delete(x.mu.underWay, t)
	x.mu.load[a.node]--
	return []order{x.cancelOf(t, a)}
}

// failure is an attempt that has failed.
type failure struct {
	node transport.NodeID
	err  error
}

// blamedLocked says which task ends a batch: where each attempt at it ran, and why it failed.
func (x *execution) blamedLocked(t taskRef) error {
	all := x.mu.failures[t]
	last := all[len(all)-1]
	where := fmt.Sprintf("stage %d, partition %d", t.stage, t.partition)
	if len(x.d.workers) > 1 {
		where += fmt.Sprintf(", worker %s", last.node)
	}
	if len(all) == 1 {
		return fmt.Errorf("%s: %w", where, last.err)
	}
	var before strings.Builder
	for _, f := range all[:len(all)-1] {
		fmt.Fprintf(&before, "; before that worker %s: %v", f.node, f.err)
	}
	return fmt.Errorf("%s, attempt %d: %w%s", where, len(all), last.err, &before)
}
