package worker

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sources"
)

// bench runs tasks on slots in the time of a bubble: a task takes its time in steps,
// and asks between two of them whether it is another's turn.
type bench struct {
	t     *testing.T
	s     *slots
	step  time.Duration
	work  map[*job]time.Duration
	done  map[*job]chan struct{}
	began map[batch.QueryID]*atomic.Int64
	// had is the time that the tasks of each query have had a slot.
	had  map[batch.QueryID]*atomic.Int64
	next int
}

func newBench(t *testing.T, count int) *bench {
	b := &bench{t: t, step: 3 * time.Millisecond, work: map[*job]time.Duration{}, done: map[*job]chan struct{}{}, began: map[batch.QueryID]*atomic.Int64{}, had: map[batch.QueryID]*atomic.Int64{}}
	start := time.Now()
	b.s = newSlots(count, func() int64 { return int64(time.Since(start)) }, func(j *job) { b.run(j) })
	return b
}

// benched runs a test in a bubble.
func benched(t *testing.T, slots int, test func(*testing.T, *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, slots)
		test(t, b)
		b.end()
	})
}

// run is called with the lock of the slots held.
func (b *bench) run(j *job) {
	query := j.run.Spec.Task.Query
	b.began[query].Add(1)
	had, work, done := b.had[query], b.work[j], b.done[j]
	go func() { // the bubble waits for it
		for left := work; left > 0 && j.ctx.Err() == nil; left -= b.step {
			<-time.After(min(b.step, left))
			had.Add(int64(min(b.step, left)))
			if b.s.turn(j.ctx, j) != nil {
				break
			}
		}
		close(done)
		if next := b.s.finish(j); next != nil {
			b.s.mu.Lock()
			b.run(next)
			b.s.mu.Unlock()
		}
	}()
}

func (b *bench) query(q batch.QueryID, weight int) {
	b.s.mu.Lock()
	b.had[q], b.began[q] = &atomic.Int64{}, &atomic.Int64{}
	b.s.mu.Unlock()
	b.s.plan(q, weight)
}

func (b *bench) add(q batch.QueryID, work time.Duration) *job {
	b.next++
	j := &job{run: transport.Run{Spec: batch.TaskSpec{Task: batch.TaskID{Query: q, Partition: b.next}}}}
	j.ctx, j.cancel = context.WithCancel(b.t.Context())
	b.s.mu.Lock()
	b.work[j], b.done[j] = work, make(chan struct{})
	b.s.mu.Unlock()
	if !b.s.add(j, 1000) {
		b.t.Fatal("there is no room for a task")
	}
	return j
}

// took runs one task and says how long that was.
func (b *bench) took(q batch.QueryID, work time.Duration) time.Duration {
	at := time.Now()
	<-b.done[b.add(q, work)]
	return time.Since(at)
}

func (b *bench) end() {
	for j, done := range b.done {
		if j.cancel(); !b.s.withdraw(j) {
			<-done
		}
	}
	synctest.Wait()
	for q := range b.had {
		b.s.unplan(q)
	}
	if n := len(b.s.mu.flows); n > 0 || len(b.s.mu.running) > 0 || b.s.crowd.Load() > 0 || b.s.mu.queued > 0 {
		b.t.Errorf("%d queries, %d slots and %d tasks are left, %d wait", n, len(b.s.mu.running), b.s.mu.queued, b.s.crowd.Load())
	}
}

func TestASmallQueryWaitsForARecordBatchAndNotForATask(t *testing.T) {
	for _, count := range []int{1, 2, 4} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			benched(t, count, func(t *testing.T, b *bench) {
				b.query("runaway", 1)
				b.query("small", 1)
				for range 64 {
					b.add("runaway", time.Hour)
				}
				<-time.After(10 * time.Second)
				for i := range 100 {
					// Two steps of the other's: the one under way, and none behind it.
					if took := b.took("small", time.Millisecond); took > time.Millisecond+b.step {
						t.Fatalf("task %d of a millisecond took %s beside steps of %s", i, took, b.step)
					}
					<-time.After(time.Duration(7*i%31) * time.Millisecond)
				}
			})
		})
	}
}

func TestSlotsAreSharedByWeight(t *testing.T) {
	benched(t, 2, func(t *testing.T, b *bench) {
		b.query("three", 3)
		b.query("one", 1)
		for range 8 {
			b.add("three", time.Hour)
			b.add("one", time.Hour)
		}
		<-time.After(20 * time.Second)
		three, one := time.Duration(b.had["three"].Load()), time.Duration(b.had["one"].Load())
		if sum := three + one; sum < 39*time.Second || three < sum*70/100 || three > sum*80/100 {
			t.Errorf("of 40 s they had %s and %s", three, one)
		}
	})
}

// TestWhoComesLaterIsNotPaidForTheTimeBefore: a second large query begins with half of
// the slots, and not with all of them for as long as the first one has run alone.
func TestWhoComesLaterIsNotPaidForTheTimeBefore(t *testing.T) {
	benched(t, 2, func(t *testing.T, b *bench) {
		b.query("first", 1)
		b.query("second", 1)
		for range 8 {
			b.add("first", time.Hour)
		}
		<-time.After(time.Minute)
		before := time.Duration(b.had["first"].Load())
		for range 8 {
			b.add("second", time.Hour)
		}
		<-time.After(time.Second)
		first, second := time.Duration(b.had["first"].Load())-before, time.Duration(b.had["second"].Load())
		if first < 900*time.Millisecond || second < 900*time.Millisecond {
			t.Errorf("in the first second together they had %s and %s of two slots", first, second)
		}
	})
}

func TestAloneAQueryKeepsTheOrderOfItsTasks(t *testing.T) {
	benched(t, 1, func(t *testing.T, b *bench) {
		b.query("q", 1)
		var jobs []*job
		for range 5 {
			jobs = append(jobs, b.add("q", time.Second))
		}
		for i, j := range jobs {
			<-b.done[j]
			if begun := b.began["q"].Load(); begun > int64(i)+2 {
				t.Errorf("when task %d ended %d had begun", i, begun)
			}
		}
	})
}

func TestCancelledTasksDoNotWaitForASlot(t *testing.T) {
	benched(t, 1, func(t *testing.T, b *bench) {
		b.query("runaway", 1)
		b.query("other", 1)
		held := b.add("runaway", time.Hour)
		queued := b.add("runaway", time.Hour)
		away := b.add("other", time.Hour)
		<-time.After(time.Second)
		for _, j := range []*job{held, away} { // one of them has been put off
			j.cancel()
			<-b.done[j]
		}
		if b.s.withdraw(away) {
			t.Error("a task that had begun was in the queue")
		}
		queued.cancel()
		<-b.done[queued]
	})
}

// TestWhoWaitsForAnotherTaskHoldsNoSlot: one slot is enough for a task and another one
// that waits for it, and a query begins no other task meanwhile unless it may.
func TestWhoWaitsForAnotherTaskHoldsNoSlot(t *testing.T) {
	benched(t, 1, func(t *testing.T, b *bench) {
		b.query("q", 1)
		b.query("other", 1)
		j := b.add("q", time.Hour)
		<-time.After(time.Second)
		b.add("q", time.Second)
		for _, own := range []bool{true, false} {
			resume := b.s.lend(j.ctx, j, own)
			if took := b.took("other", time.Millisecond); took > time.Millisecond+b.step {
				t.Errorf("another query's task took %s while the slot was lent", took)
			}
			if begun := b.began["q"].Load() > 1; begun == own {
				t.Errorf("lent to its own %t: the next task of the query has begun: %t", own, begun)
			}
			resume()
		}
		b.s.mu.Lock()
		if !j.place.held {
			t.Error("it went on without a slot")
		}
		b.s.mu.Unlock()
	})
}

func TestTasksGoRoundWithoutAClock(t *testing.T) {
	var order []batch.QueryID
	s := newSlots(1, nil, func(j *job) { order = append(order, j.run.Spec.Task.Query) })
	first := &job{run: transport.Run{Spec: batch.TaskSpec{Task: batch.TaskID{Query: "a"}}}}
	s.add(first, 10)
	for _, q := range []batch.QueryID{"a", "a", "a", "b", "c", "b"} {
		s.add(&job{run: transport.Run{Spec: batch.TaskSpec{Task: batch.TaskID{Query: q}}}}, 10)
	}
	for j := first; j != nil; {
		if j = s.finish(j); j != nil {
			order = append(order, j.run.Spec.Task.Query)
		}
	}
	if got, want := fmt.Sprint(order), "[a b c a b a a]"; got != want {
		t.Errorf("tasks ran in the order %s, want %s", got, want)
	}
}

// endless is a source without an end whose batches take 3 ms of a clock of its own.
type endless struct {
	fake
	nanos atomic.Int64
	w     atomic.Pointer[Worker]
	seen  atomic.Int64 // batches that were made while the other query waited
}

func (e *endless) Now() time.Time { return time.Unix(0, e.nanos.Load()) }
func (e *endless) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	return clock.System().AfterFunc(d, f)
}

func (e *endless) Opener(key, _ string) (sources.Opener, error) {
	if key == "small" {
		return &e.fake, nil
	}
	return e, nil
}

func (e *endless) Open(_ context.Context, _ batch.Split, _ []int, alloc memory.Allocator) (sources.Reader, error) {
	return &endlessReader{e, alloc}, nil
}

type endlessReader struct {
	e     *endless
	alloc memory.Allocator
}

func (r *endlessReader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	r.e.nanos.Add(int64(3 * time.Millisecond))
	s := r.e.w.Load().slots
	s.mu.Lock()
	if f := s.mu.flows["small"]; f != nil && f.waits() {
		r.e.seen.Add(1)
	}
	s.mu.Unlock()
	return (&fakeReader{f: &r.e.fake, rows: []int64{1}, alloc: r.alloc}).Next(ctx)
}

func (r *endlessReader) Close() error { return nil }

// TestARunawayTaskMakesRoom: a task that never ends holds the only slot, in the middle
// of an aggregate that hands nothing on. Each task of a small query has at most two of
// its record batches before it, by count.
func TestARunawayTaskMakesRoom(t *testing.T) {
	e := &endless{fake: fake{rows: map[int][]int64{0: {1, 2, 3}}}}
	c := startOn(t, e, Options{Slots: 1, Clock: e})
	e.w.Store(c.w)
	out := physical.PartialAggregate{Input: &physical.Scan{Source: "src", Out: schema}, Keys: []expr.Expr{key}, Out: schema}
	plan := func(k string) *physical.Plan {
		return &physical.Plan{Key: k, Stages: []*physical.Stage{{ID: 0, Root: &out, Kind: physical.Splits, Output: physical.ToOne{}, Sources: []string{"src"}}}}
	}
	run := func(q batch.QueryID, p int) batch.TaskSpec {
		s := spec(0, 0, p)
		s.Task.Query, s.Plan = q, string(q)
		return s
	}
	for _, q := range []batch.QueryID{"runaway", "small"} {
		c.send(transport.Deploy{Key: string(q), Query: q, Plan: plan(string(q)), Parts: 1})
	}
	for p := range 3 {
		c.send(transport.Run{Spec: run("runaway", p)})
	}
	const tasks = 50
	for p := range tasks {
		c.run(run("small", p))
	}
	if seen := e.seen.Load(); seen > 2*tasks {
		t.Errorf("%d tasks of a small query had %d record batches of the other before them", tasks, seen)
	}
	for p := range 3 {
		c.send(transport.Cancel{Task: run("runaway", p).Task})
	}
	for range 3 {
		if f, ok := c.answer().(transport.Failed); !ok || f.Task.Query != "runaway" {
			t.Errorf("a cancelled task was answered by %v", f)
		}
	}
}
