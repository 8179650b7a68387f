package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/memory"
)

// Admission lets queries begin that share workers: as many at a time as there may be,
// and those with a quota of memory only where their workers have so much that is not
// promised to others. Those that have to wait begin in the order in which they came;
// none overtakes another. Its methods may be called from several goroutines.
type Admission struct {
	memory func() []int64
	mu     struct {
		sync.Mutex
		most    int
		admits  []*admit // that run
		waiting []*admit // in order
	}
}

// ErrNeverAdmitted is wrapped where a quota is larger than what any worker has.
var ErrNeverAdmitted = errors.New("no worker has so much memory")

// admittedMax bounds how many queries wait.
const admittedMax = 1000

// admit is a query's place.
type admit struct {
	name   string
	memory int64
	in     chan struct{} // closed when it may begin
}

// NewAdmission lets as many queries run at a time as most says, 0 for any number. memory
// tells how many bytes each of the workers has that there are.
func NewAdmission(most int, memory func() []int64) *Admission {
	a := &Admission{memory: memory}
	a.mu.most = most
	return a
}

// SetMost changes how many run at a time. Those that run go on.
func (a *Admission) SetMost(most int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.most = most
	a.lookLocked()
}

// Look lets queries begin for which there is room, when workers have come.
func (a *Admission) Look() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lookLocked()
}

// join queues a query. It is refused what it can never have.
func (a *Admission) join(name string, bytes int64) (*admit, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if workers := a.memory(); bytes > 0 && len(workers) > 0 && bytes > slices.Max(workers) {
		return nil, &batch.Error{Kind: batch.User, Err: fmt.Errorf("%s %s: %w, the largest one %s", memory.QueryLimitOption, memory.FormatBytes(bytes), ErrNeverAdmitted, memory.FormatBytes(slices.Max(workers)))}
	}
	if len(a.mu.waiting) >= admittedMax {
		return nil, batch.ExternalError(fmt.Errorf("%d queries wait to begin, more than may", len(a.mu.waiting)), true)
	}
	q := &admit{name: name, memory: bytes, in: make(chan struct{})}
	a.mu.waiting = append(a.mu.waiting, q)
	a.lookLocked()
	return q, nil
}

// leave gives a query's place to others, whether it has begun or not.
func (a *Admission) leave(q *admit) {
	a.mu.Lock()
	defer a.mu.Unlock()
	is := func(o *admit) bool { return o == q }
	a.mu.admits, a.mu.waiting = slices.DeleteFunc(a.mu.admits, is), slices.DeleteFunc(a.mu.waiting, is)
	a.lookLocked()
}

func (a *Admission) lookLocked() {
	for len(a.mu.waiting) > 0 && a.whyNotLocked(a.mu.waiting[0]) == "" {
		q := a.mu.waiting[0]
		a.mu.waiting = slices.Delete(a.mu.waiting, 0, 1)
		a.mu.admits = append(a.mu.admits, q)
		close(q.in)
	}
}

// whyNotLocked says why the first query that waits cannot begin; "" if it can.
func (a *Admission) whyNotLocked(q *admit) string {
	if n := len(a.mu.admits); a.mu.most > 0 && n >= a.mu.most {
		return fmt.Sprintf("as many queries run as may at a time: %d", n)
	}
	if q.memory == 0 {
		return ""
	}
	workers := a.memory()
	if len(workers) == 0 {
		return waitingForWorkers
	}
	if most := slices.Max(workers); q.memory > most {
		return fmt.Sprintf("%s on each worker are more than any has, the largest one %s", memory.FormatBytes(q.memory), memory.FormatBytes(most))
	}
	for _, has := range workers {
		free := has
		for _, o := range a.mu.admits {
			free -= min(o.memory, has)
		}
		if free < min(q.memory, has) {
			return fmt.Sprintf("%s on each worker, where %s of %s are not promised to others", memory.FormatBytes(q.memory), memory.FormatBytes(max(free, 0)), memory.FormatBytes(has))
		}
	}
	return ""
}

// queued begins what a query says while it waits.
const queued = "queued"

// why says what a query waits for; "" if it may begin.
func (a *Admission) why(q *admit) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := slices.Index(a.mu.waiting, q)
	switch {
	case at < 0:
		return ""
	case at == 0:
		return queued + ": " + cmp.Or(a.whyNotLocked(q), "its turn")
	}
	return fmt.Sprintf("%s: %d before it, the first is %s", queued, at, a.mu.waiting[0].name)
}

// enter waits until a query that runs once may begin. leave is to be called at its end.
func (a *Admission) enter(ctx context.Context, name string, bytes int64) (leave func(), err error) {
	if a == nil {
		return func() {}, nil
	}
	q, err := a.join(name, bytes)
	if err != nil {
		return nil, err
	}
	select {
	case <-q.in:
		return func() { a.leave(q) }, nil
	case <-ctx.Done():
		why := cmp.Or(a.why(q), queued)
		a.leave(q)
		return nil, fmt.Errorf("%s: %w", why, context.Cause(ctx))
	}
}

// queue takes a place among the queries that share workers.
func (q *Query) queue() (err error) {
	if q.opt.Admission != nil {
		q.place, err = q.opt.Admission.join(q.opt.Name, q.opt.Quota.Memory)
	}
	return err
}

// leave gives the place back.
func (q *Query) leave() {
	if q.place != nil {
		q.opt.Admission.leave(q.place)
	}
}

// queued reports whether the query has to wait for others.
func (q *Query) queued() bool {
	if q.place == nil {
		return false
	}
	select {
	case <-q.place.in:
		return false
	default:
		return true
	}
}

// enter waits until the query may begin, and then hands its plan to workers that stay.
// It serves requests meanwhile, one of which may end the query: the machine tells.
func (q *Query) enter(ctx context.Context) error {
	if !q.later { // it is set before the query waits, and may have changed since
		return nil
	}
	var moved <-chan struct{}
	if m := q.opt.Members; m != nil {
		var stop func()
		moved, stop = m.watch()
		defer stop()
	}
	for q.queued() {
		select {
		case <-q.place.in:
		case <-moved:
			q.opt.Admission.Look()
		case p := <-q.events:
			q.take(p)
		}
		if rd, ok := q.m.Ready(); ok && rd.Done {
			return nil
		}
	}
	if q.opt.Members != nil {
		return nil
	}
	return q.deploy(ctx)
}
