package driver

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sinks"
)

// copyPlan writes the numbers as they are.
func copyPlan() *physical.Plan {
	p := countPlan()
	p.Key, p.Stages = "copy", p.Stages[:1]
	p.Stages[0].Output = physical.ToSink{Sink: "out#0"}
	return p
}

// pile is a sink of numbers.
type pile struct {
	mu      sync.Mutex
	rows    []int64
	last    batch.ID
	aborted []int64
}

func (p *pile) Commit(_ context.Context, id batch.ID, _ batch.Term, parts []batch.Prepared) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if id == p.last {
		return nil
	}
	p.last = id
	rows, err := numbersIn(parts)
	p.rows = append(p.rows, rows...)
	return err
}

func (p *pile) Abort(_ context.Context, _ batch.ID, _ batch.Term, parts []batch.Prepared) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	rows, err := numbersIn(parts)
	p.aborted = append(p.aborted, rows...)
	return err
}

// numbersIn are the rows of prepared parts.
func numbersIn(parts []batch.Prepared) (all []int64, err error) {
	for _, x := range parts {
		var rows []int64
		if err := json.Unmarshal(x.Payload, &rows); err != nil {
			return all, err
		}
		all = append(all, rows...)
	}
	return all, nil
}

func (p *pile) Holds(context.Context) (batch.ID, batch.Digest, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last, batch.Digest{}, nil
}

func (p *pile) Close() error { return nil }

// pair is a query on two workers that begins stragglers twice.
type pair struct {
	*bed
	other *fakeWorker
}

func newPair(t *testing.T, plan *physical.Plan) *pair {
	b := newBed(t, 200)
	p := &pair{bed: b, other: startWorker(t, b.net, "w2", b.fs)}
	b.opt.Plan, b.opt.Workers = plan, []transport.NodeID{"w", "w2"}
	b.opt.Protocol.Trigger.Kind = microbatch.AvailableNow
	b.opt.Speculation = Speculation{On: true, Quantile: 0.3}
	t.Cleanup(p.close)
	return p
}

// try is the number of an attempt within its run of the batch, of as many as there may be.
func try(s batch.TaskSpec, most int) int { return s.Task.Attempt % most }

func (p *pair) close() {
	p.other.stop()
	p.bed.close()
}

// attempts counts the tasks of the first stage that a worker was sent, by attempt.
func (p *pair) attempts(w *fakeWorker) (n [2]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.runs {
		if s.Task.Stage == 0 {
			n[try(s, 3)]++
		}
	}
	return n
}

// TestOneAttemptOfAStragglerIsAdopted: a worker is slow at all of its tasks, which the
// other one does again. The slow one ends them later: what it has prepared is aborted, and
// every row is shown once.
func TestOneAttemptOfAStragglerIsAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, copyPlan())
		out := &pile{last: batch.None}
		p.opt.Sinks = map[string]sinks.Sink{"out#0": out}
		p.opt.Protocol.Trigger = microbatch.Trigger{Kind: microbatch.Immediate}
		slow := true
		p.worker.fault = func(batch.TaskSpec) error {
			if slow {
				time.Sleep(time.Minute) // of the bubble
				slow = false
			}
			return nil
		}
		began := time.Now()
		q := p.start()
		p.must(q.ProcessAllAvailable(t.Context()))
		if took := time.Since(began); took != 100*time.Millisecond {
			t.Errorf("the batch took %s", took)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		p.must(q.Stop(t.Context(), false))
		first, again := p.attempts(p.worker)[0], p.attempts(p.other)[1]
		if first == 0 || again != first {
			t.Errorf("%d tasks of the slow worker, %d were begun again", first, again)
		}
		if slices.Sort(out.rows); len(out.rows) != 200 || len(slices.Compact(out.rows)) != 200 {
			t.Errorf("%d rows are shown", len(out.rows))
		}
		if want := 7 * first; len(out.aborted) < want-7 || len(out.aborted) > want {
			t.Errorf("%d rows are aborted, want those of %d tasks of 7", len(out.aborted), first)
		}
		if n := count[TaskFailed](p.bed); n > 0 {
			t.Errorf("%d tasks count as failed", n)
		}
	})
}

// TestAStragglerIsCancelled: the attempt that is not adopted is told to end, and the batch
// does not wait for it.
func TestAStragglerIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, countPlan())
		p.worker.hold = func(s batch.TaskSpec) bool { return s.Task.Stage == 0 }
		p.must(p.start().Await(t.Context()))
		p.out.check(t, 200)
		if len(p.worker.held) > 0 || p.out.aborted > 0 {
			t.Errorf("%d attempts go on, %d parts are aborted", len(p.worker.held), p.out.aborted)
		}
	})
}

// TestTasksWithStateStayWhereItIs: they are not begun a second time, nor is anything where
// speculation is off.
func TestTasksWithStateStayWhereItIs(t *testing.T) {
	for _, on := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, countPlan())
			p.opt.Speculation.On = on
			p.opt.TaskTimeout = time.Hour
			stage := 0
			if on {
				stage = 1
			}
			p.worker.hold = func(s batch.TaskSpec) bool {
				return s.Task.Stage == stage && try(s, 3) == 0
			}
			began := time.Now()
			p.must(p.start().Await(t.Context()))
			p.out.check(t, 200)
			if took := time.Since(began); took < time.Hour {
				t.Errorf("speculation %v: the tasks were done again after %s", on, took)
			}
		})
	}
}

// TestAnAttemptThatFailsBesideAnother costs nothing: the other one goes on, whichever it is.
func TestAnAttemptThatFailsBesideAnother(t *testing.T) {
	for _, second := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, countPlan())
			broken := batch.ExternalError(errors.New("the disk is full"), true)
			fault := func(s batch.TaskSpec) error {
				first := try(s, 2) == 0
				switch {
				case s.Task.Stage != 0 || s.Task.Partition != 200/7:
					return nil
				case first == second: // this one is slow, and goes through
					time.Sleep(2 * time.Second) // of the bubble
					return nil
				case first: // this one fails when the other has begun
					time.Sleep(time.Second)
				}
				return broken
			}
			p.worker.fault, p.other.fault = fault, fault
			p.opt.TaskAttemptsMax = 2
			p.must(p.start().Await(t.Context()))
			p.out.check(t, 200)
			if n := count[TaskFailed](p.bed); n != 1 || count[BatchFailed](p.bed) > 0 {
				t.Errorf("%d tasks and %d batches have failed, want one task", n, count[BatchFailed](p.bed))
			}
		})
	}
}

// TestAFailureNamesTaskWorkersAndCauses: what ends a query says where each attempt ran and
// what was wrong with it.
func TestAFailureNamesTaskWorkersAndCauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, countPlan())
		p.opt.Speculation.On, p.opt.Protocol.AttemptsMax = false, 1
		fails := func(why string) func(batch.TaskSpec) error {
			return func(s batch.TaskSpec) error {
				if s.Task.Stage == 0 && s.Task.Partition == 1 {
					return batch.ExternalError(errors.New(why), true)
				}
				return nil
			}
		}
		p.worker.fault, p.other.fault = fails("no route"), fails("no space")
		err := p.start().Await(t.Context())
		for _, want := range []string{"stage 0, partition 1", "attempt 3", "worker w: no route", "worker w2: no space"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v does not say %q", err, want)
			}
		}
	})
}

// TestSlotsOfAQuery: no more tasks are under way than its quota says, over all workers.
func TestSlotsOfAQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, countPlan())
		p.opt.SlotsMax = 1
		var mu sync.Mutex
		now, most := 0, 0
		busy := func(batch.TaskSpec) error {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Second) // of the bubble
			mu.Lock()
			now--
			mu.Unlock()
			return nil
		}
		p.worker.fault, p.other.fault = busy, busy
		p.must(p.start().Await(t.Context()))
		p.out.check(t, 200)
		if most != 1 {
			t.Errorf("%d tasks ran at a time", most)
		}
	})
}
