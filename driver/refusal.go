package driver

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/microbatch"
)

// A worker plans a query anew, and may come to nothing: a file or a secret that it does
// not have, or a program of another version. It says so at once, and the query goes on
// without it, on the others. Whenever the query is handed out anew it is asked again, a
// bounded number of times; another process under its name is another worker. A query
// that none can run waits, with the reason as its status, if that may pass, and else ends.

// refusalsMax is how often a worker is handed a plan that it cannot run.
const refusalsMax = 3

// refusals are the workers that cannot run a query.
type refusals struct {
	mu sync.Mutex
	by map[transport.NodeID]refusal
}

type refusal struct {
	run    string // the worker's process
	err    error
	tries  int
	until  time.Time // before it is not asked again
	trying bool      // it is being asked
}

// set notes what a worker has answered to a plan; nil is that it runs it.
func (r *refusals) set(w transport.NodeID, run string, err error, at time.Time, pause time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		delete(r.by, w)
		return
	}
	if r.by == nil {
		r.by = map[transport.NodeID]refusal{}
	}
	was := r.by[w]
	if was.run != run {
		was = refusal{run: run}
	}
	was.tries++
	was.err, was.trying = err, false
	was.until = at.Add(pause << min(was.tries-1, 5))
	r.by[w] = was
}

// willing returns those workers that may be asked. If there are none, wait is after how
// long one may be asked again; 0 for never.
func (r *refusals) willing(ws []Member, at time.Time) (out []Member, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range ws {
		f, ok := r.by[w.ID]
		switch {
		case !ok || f.run != w.Run || !f.until.After(at) && f.more():
			if ok {
				f.trying = true
				r.by[w.ID] = f
			}
			out = append(out, w)
		case f.more() && (wait == 0 || f.until.Sub(at) < wait):
			wait = f.until.Sub(at)
		}
	}
	return out, wait
}

// more reports whether it is of use to ask again.
func (f refusal) more() bool {
	_, again := batch.KindOf(f.err)
	return again || f.tries < refusalsMax
}

// without returns the members but for those that a life should not be ended for.
func (r *refusals) without(ws []Member) []Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(ws, func(w Member) bool {
		f, ok := r.by[w.ID]
		return ok && f.run == w.Run && !f.trying
	})
}

// told says what a query waits for.
func (r *refusals) told(waiting string, ws []Member) string {
	if why := r.reasons(ws); why != "" {
		return waiting + ": " + why
	}
	return waiting
}

func (r *refusals) reasons(ws []Member) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, w := range ws {
		if f, ok := r.by[w.ID]; ok && f.run == w.Run {
			out = append(out, fmt.Sprintf("worker %s cannot run it: %v", w.ID, f.err))
		}
	}
	return strings.Join(out, "; ")
}

// end returns why no worker will ever run the query; nil if one may.
func (r *refusals) end(ws []Member) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var first error
	for _, w := range ws {
		f, ok := r.by[w.ID]
		if !ok || f.run != w.Run || f.more() {
			return nil
		}
		if first == nil {
			first = fmt.Errorf("none of %d workers can run it: worker %s: %w", len(ws), w.ID, f.err)
		}
	}
	return first
}

// Refusal is a worker that cannot run a query, and why.
type Refusal struct {
	Worker transport.NodeID
	Reason string
}

// Refusals lists the workers that cannot run the query, by ID.
func (q *Query) Refusals() []Refusal {
	r := &q.refused
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Refusal
	for w, f := range r.by {
		out = append(out, Refusal{w, f.err.Error()})
	}
	slices.SortFunc(out, func(a, b Refusal) int { return cmp.Compare(a.Worker, b.Worker) })
	return out
}

// workerAnswers takes in what a worker says of the plan. If it cannot run it, the life
// ends for one on the others.
func (q *Query) workerAnswers(w transport.NodeID, err error) {
	d := q.d
	if !slices.Contains(d.workers, w) || err != nil && !d.markLost(w) {
		return
	}
	q.refused.set(w, d.runs[w], err, q.opt.Clock.Now(), q.opt.StaffRetry)
	if err == nil {
		return
	}
	q.postNoting(nil, func() {
		q.listen.send(WorkerRefused{Worker: w, Err: err})
		q.renew(true)
	})
	if x := d.running(); x != nil {
		x.abandonOn(w)
	}
	d.fail(gone(w, "it cannot run the query: "+err.Error()))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer q.opt.Clock.AfterFunc(q.opt.CancelWait, cancel)()
	_ = d.tr.Send(ctx, w, transport.Undeploy{Key: d.key}) // the end of the life passes it by
}

// hopeless ends the query if no worker will ever run it.
func (q *Query) hopeless(ws []Member) bool {
	err := q.refused.end(ws)
	if len(ws) == 0 || err == nil {
		return false
	}
	q.renewal.poison = err
	q.step(microbatch.StopRequested{Abandon: true})
	return true
}
