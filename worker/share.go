package worker

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-stream/sluice/batch"
)

// The slots of a worker are shared by time: a query has a virtual time, which runs on
// while its tasks hold slots, the slower the more weight it has, and a slot goes to
// the query that is furthest behind (start-time fair queueing). A task gives its slot
// up between two record batches when another query has fallen behind its own, so that
// a query with tasks of minutes keeps nobody waiting for longer than a turn. Where
// nobody waits a turn is one atomic load, once in a millisecond.
const (
	// turnLag is how far behind a query must be before a task of another one makes
	// room in the middle. Less makes tasks of two busy queries change places more
	// often than their caches like.
	turnLag = 5 * time.Millisecond
	// wakeLead is how far behind a query counts that has had nothing to do: enough
	// that a small one gets the next turn. It is no credit that grows: a query never
	// counts further behind than it is.
	wakeLead = 2 * turnLag
	// taskShare is what a task counts where there is no clock.
	taskShare = time.Millisecond
)

// slots are the places in which tasks run.
type slots struct {
	count int
	nanos func() int64 // nil: every task counts the same, and none makes room before its end
	// crowd is how many queries have a task that waits.
	crowd atomic.Int32
	start func(*job) // runs a task that has been given a slot

	mu struct {
		sync.Mutex
		flows   map[batch.QueryID]*flow
		running []*job  // those that hold slots
		waiting []*flow // those with tasks that wait, first come first
		queued  int     // tasks that wait and have not begun
		now     float64 // the virtual time: none that has something to do is further behind
	}
}

// flow is a query's share of the slots. It is guarded by slots.mu.
type flow struct {
	query  batch.QueryID
	weight float64
	plans  int     // deployed under the query's name
	spent  float64 // its virtual time, in nanoseconds
	begun  int     // tasks that count as begun: they hold a slot, or have lent it
	again  []*job  // tasks that have begun and want a slot again
	jobs   []*job  // tasks that have not begun
}

// place is a task's hold on a slot. It is guarded by slots.mu but for away, which is
// the task's own.
type place struct {
	flow   *flow
	held   bool
	counts bool // among those of its query that have begun
	since  int64
	wake   chan struct{} // given a value with a slot
	away   int64         // how long the task was kept without one
}

func newSlots(count int, nanos func() int64, start func(*job)) *slots {
	s := &slots{count: count, nanos: nanos, start: start}
	s.mu.flows = map[batch.QueryID]*flow{}
	return s
}

// plan notes that a plan of a query is deployed, and the query's weight.
func (s *slots) plan(q batch.QueryID, weight int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flowLocked(q)
	f.plans++
	f.weight = float64(max(weight, 1))
}

// unplan is plan's end. A query without plans and tasks is forgotten.
func (s *slots) unplan(q batch.QueryID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flowLocked(q)
	f.plans--
	s.forgetLocked(f)
}

func (s *slots) flowLocked(q batch.QueryID) *flow {
	f := s.mu.flows[q]
	if f == nil {
		f = &flow{query: q, weight: 1}
		s.mu.flows[q] = f
	}
	return f
}

func (s *slots) forgetLocked(f *flow) {
	if f.plans <= 0 && f.begun == 0 && !f.waits() {
		delete(s.mu.flows, f.query)
	}
}

func (f *flow) waits() bool { return len(f.again)+len(f.jobs) > 0 }

// add queues a task; false if as many wait as may.
func (s *slots) add(j *job, most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.queued >= most {
		return false
	}
	f := s.flowLocked(j.run.Spec.Task.Query)
	j.place = place{flow: f}
	s.rouseLocked(f)
	f.jobs = append(f.jobs, j)
	s.mu.queued++
	s.noteLocked(f)
	s.dispatchLocked()
	return true
}

// rouseLocked brings a query up to date that has had nothing to do: it stands where
// the one does that is furthest behind of those that have, or a little before it.
func (s *slots) rouseLocked(f *flow) {
	if f.begun > 0 || f.waits() {
		return
	}
	least, busy := 0.0, false
	at := func(o *flow) {
		if !busy || o.spent < least {
			least, busy = o.spent, true
		}
	}
	for _, j := range s.mu.running {
		s.chargeLocked(j)
		at(j.place.flow)
	}
	for _, o := range s.mu.waiting {
		at(o)
	}
	if busy {
		s.mu.now = max(s.mu.now, least)
	}
	f.spent = max(f.spent, s.mu.now-float64(wakeLead))
}

// noteLocked keeps the list of those that wait.
func (s *slots) noteLocked(f *flow) {
	at := slices.Index(s.mu.waiting, f)
	switch {
	case f.waits() && at < 0:
		s.mu.waiting = append(s.mu.waiting, f)
	case !f.waits() && at >= 0:
		s.mu.waiting = slices.Delete(s.mu.waiting, at, at+1)
	default:
		return
	}
	s.crowd.Store(int32(len(s.mu.waiting)))
}

// nextLocked is the query that is to be given a slot; nil if none can use one. A query
// begins no more tasks than there are slots, whatever its tasks have lent.
func (s *slots) nextLocked(but *flow) *flow {
	var best *flow
	for _, f := range s.mu.waiting {
		if f == but || len(f.again) == 0 && f.begun >= s.count {
			continue
		}
		if best == nil || f.spent < best.spent {
			best = f
		}
	}
	return best
}

// takeLocked gives a free slot to the next task; nil if nobody can use it. A task that
// has begun goes first: what it holds is freed by its end.
func (s *slots) takeLocked() *job {
	if len(s.mu.waiting) == 0 || len(s.mu.running) >= s.count {
		return nil
	}
	f := s.nextLocked(nil)
	if f == nil {
		return nil
	}
	var j *job
	if len(f.again) > 0 {
		j, f.again = pop(f.again)
	} else {
		j, f.jobs = pop(f.jobs)
		s.mu.queued--
	}
	s.noteLocked(f)
	s.mu.running = append(s.mu.running, j)
	s.mu.now = max(s.mu.now, f.spent)
	if !j.place.counts {
		j.place.counts = true
		f.begun++
	}
	j.place.held, j.place.since = true, s.time()
	return j
}

func pop(list []*job) (*job, []*job) {
	j := list[0]
	list[0] = nil
	if list = list[1:]; len(list) == 0 {
		return j, nil
	}
	return j, list
}

func (s *slots) time() int64 {
	if s.nanos == nil {
		return 0
	}
	return s.nanos()
}

// dispatchLocked gives free slots to whoever is next.
func (s *slots) dispatchLocked() {
	for {
		j := s.takeLocked()
		if j == nil {
			return
		}
		s.goOn(j)
	}
}

// goOn lets a task run that has been given a slot.
func (s *slots) goOn(j *job) {
	if j.begun {
		j.place.wake <- struct{}{} // it has room: a task waits for one slot at a time
		return
	}
	j.begun = true
	s.start(j)
}

// chargeLocked counts the time that a task has held its slot.
func (s *slots) chargeLocked(j *job) {
	if s.nanos == nil {
		return
	}
	now := s.nanos()
	f := j.place.flow
	f.spent += float64(now-j.place.since) / f.weight
	j.place.since = now
}

// leaveLocked takes a task's slot away.
func (s *slots) leaveLocked(j *job) {
	if !j.place.held {
		return
	}
	s.chargeLocked(j)
	if s.nanos == nil {
		j.place.flow.spent += float64(taskShare) / j.place.flow.weight
	}
	j.place.held = false
	s.mu.running = slices.DeleteFunc(s.mu.running, func(o *job) bool { return o == j })
}

// finish ends a task and returns the next one to be run in its place, if that has not
// begun; others go on by themselves.
func (s *slots) finish(j *job) *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := j.place.flow
	s.leaveLocked(j)
	if j.place.counts {
		j.place.counts = false
		f.begun--
	}
	s.forgetLocked(f)
	for {
		next := s.takeLocked()
		if next == nil || !next.begun {
			if next != nil {
				next.begun = true
			}
			s.dispatchLocked()
			return next
		}
		s.goOn(next)
	}
}

// turn is called by a task between two record batches. It lets other goroutines of the
// process run, and gives the slot to another query if that is behind by so much.
func (s *slots) turn(ctx context.Context, j *job) error {
	runtime.Gosched()
	if s.crowd.Load() == 0 {
		return nil
	}
	s.mu.Lock()
	if !j.place.held { // it was cancelled while it waited, and ends
		s.mu.Unlock()
		return nil
	}
	s.chargeLocked(j)
	f := j.place.flow
	other := s.nextLocked(f)
	if other == nil || f.spent <= other.spent+float64(turnLag) {
		s.mu.Unlock()
		return nil
	}
	s.leaveLocked(j)
	s.backLocked(j)
	s.mu.Unlock()
	return s.wait(ctx, j)
}

// backLocked queues a task that has begun.
func (s *slots) backLocked(j *job) {
	f := j.place.flow
	if j.place.wake == nil {
		j.place.wake = make(chan struct{}, 1)
	}
	f.again = append(f.again, j)
	s.noteLocked(f)
	s.dispatchLocked()
}

// wait returns when the task has a slot again, or with the error of ctx.
func (s *slots) wait(ctx context.Context, j *job) error {
	began := s.time()
	defer func() { j.place.away += s.time() - began }()
	select {
	case <-j.place.wake:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if j.place.held { // both at the same time
		<-j.place.wake
		return ctx.Err()
	}
	f := j.place.flow
	f.again = slices.DeleteFunc(f.again, func(o *job) bool { return o == j })
	s.noteLocked(f)
	return ctx.Err()
}

// lend gives a slot away while its task waits for somebody. own: for another task of
// its query, and then the query begins no other task in the meantime; else for whoever
// reads its rows, and then it may. resume waits for a slot again.
func (s *slots) lend(ctx context.Context, j *job, own bool) (resume func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !j.place.held {
		return func() {}
	}
	s.leaveLocked(j)
	if !own {
		j.place.counts = false
		j.place.flow.begun--
	}
	began := s.time()
	s.dispatchLocked()
	return func() {
		j.place.away += s.time() - began
		s.mu.Lock()
		s.backLocked(j)
		s.mu.Unlock()
		_ = s.wait(ctx, j) // a task that was cancelled finds out by itself
	}
}

// begun reports whether a task has left the queue.
func (s *slots) begun(j *job) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return j.begun
}

// withdraw takes a task that has not begun off the queue; false if it has begun.
func (s *slots) withdraw(j *job) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := j.place.flow
	if f == nil { // there was no room for it
		return false
	}
	at := slices.Index(f.jobs, j)
	if at < 0 {
		return false
	}
	f.jobs = slices.Delete(f.jobs, at, at+1)
	s.mu.queued--
	j.begun = true
	s.noteLocked(f)
	s.forgetLocked(f)
	return true
}
