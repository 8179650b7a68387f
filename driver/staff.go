package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/microbatch"
)

// The workers of a query may come and go. A life of the query runs on those that are
// there when it begins. A worker that is lost ends the life at once: the running batch
// is abandoned, which is no failure, and the next life begins on the others from the
// newest state that they have whole, else from the newest checkpoint and the batches
// since (kept.go). A worker that drains, or one that is new and of use, ends the life
// between two batches. All of that is the road of a
// restart, so that a crash anywhere on it loses and doubles nothing.

// waitingForWorkers is what a query says while there is nobody to run it.
const waitingForWorkers = "waiting for workers"

// errPoison ends a query one of whose tasks takes its workers down.
var errPoison = errors.New("the workers that run it are lost")

// renewal is the change from one life to the next on other workers. It belongs to
// the loop's goroutine, and between two lives to the query's.
type renewal struct {
	due     bool // a life ends for another one
	stopped bool // the query is to end: no other life begins
	// deaths counts the workers that were lost while they ran a task of the batch.
	deaths map[batch.TaskID]int
	poison error
	// gone counts lives that ended because a worker could not be reached though it
	// counts as there; committed is how far the query was then.
	gone      int
	committed batch.ID
}

// take reports whether another life begins.
func (r *renewal) take() bool {
	due := r.due && !r.stopped && r.poison == nil
	r.due = false
	return due
}

// renew ends the life for another one.
func (q *Query) renew(abandon bool) {
	q.renewal.due = true
	q.step(microbatch.StopRequested{Abandon: abandon})
}

// staff waits until there are workers, and hands them the plan. It serves requests
// meanwhile, one of which may end the query: the machine tells. Fixed workers are
// handed the plan when the life begins.
func (q *Query) staff() {
	m := q.opt.Members
	if m == nil {
		return
	}
	moved, stop := m.watch()
	defer stop()
	retry, late := make(chan struct{}, 1), make(chan struct{})
	back := q.life > 1 // those who are there are all that there are
	if !back {
		defer q.opt.Clock.AfterFunc(q.opt.ReturnTime, func() { close(late) })()
	}
	for tries := range int64(1) << 62 {
		all := m.usable()
		back = back || q.allBack(all)
		var ws []Member
		var wait time.Duration
		if back {
			ws, wait = q.refused.willing(all, q.opt.Clock.Now())
		}
		if len(ws) > 0 && (tries > 0 || q.renewal.gone < 2) && q.handOut(ws, tries) {
			q.waits.Store(nil)
			return
		}
		why := q.refused.told(waitingForWorkers, m.usable())
		q.waits.Store(&why)
		if len(ws) > 0 {
			wait = q.opt.StaffRetry
		}
		disarm := func() bool { return true }
		if wait > 0 {
			disarm = q.opt.Clock.AfterFunc(wait, func() { retry <- struct{}{} })
		}
		if q.renewal.poison != nil || !q.hopeless(all) {
			select {
			case <-moved:
			case <-late:
				back, late = true, nil
			case <-retry:
			case p := <-q.events:
				q.take(p)
			}
		}
		if !disarm() {
			select { // it rang meanwhile
			case <-retry:
			default:
			}
		}
		if rd, ok := q.m.Ready(); ok && rd.Done {
			q.waits.Store(nil)
			return
		}
	}
}

// allBack reports whether all workers of the life before are there, or there was none. A
// driver that comes back waits for them: they keep the state, and who begins without them
// makes it void.
func (q *Query) allBack(ws []Member) bool {
	for _, id := range q.former.workers {
		if !slices.ContainsFunc(ws, func(w Member) bool { return string(w.ID) == id }) {
			return false
		}
	}
	return true
}

// former is what the log says of the life before.
type former struct {
	term    batch.Term
	workers []string // that had the state
}

// keepParts decides on the parallelism that the slots of the workers give: the state that
// they have kept is cut in another way, and is of no use then. Once it has been taken up
// there is time to cut it anew, if that is of use (compare).
func (q *Query) keepParts(slots int) int {
	now := min(max(slots, 1), batch.KeyGroups)
	was := 0
	if q.last != nil {
		for _, s := range q.last.Shards {
			was = max(was, s.Shard.Partition+1)
		}
	}
	if was > 1 && q.unsaved() && now >= was/2 {
		return was
	}
	return now
}

// unsaved reports whether batches have been committed since the newest checkpoint.
func (q *Query) unsaved() bool {
	n := len(q.checkpoints)
	return q.last != nil && (n == 0 || q.checkpoints[n-1].Batch < q.last.Batch)
}

// handOut gives the plan to workers; false if not all of them have it.
func (q *Query) handOut(ws []Member, try int64) bool {
	slots := 0
	ids, runs := make([]transport.NodeID, len(ws)), map[transport.NodeID]string{}
	for i, w := range ws {
		ids[i], runs[w.ID] = w.ID, w.Run
		slots += w.Slots
	}
	if q.opt.Auto {
		if most := q.opt.SlotsMax; most > 0 {
			slots = min(slots, most)
		}
		q.opt.Parallelism = q.keepParts(slots)
		q.parts.Store(int64(q.opt.Parallelism))
	}
	q.opt.Workers = ids
	key := q.d.key
	if try > 0 {
		key, _, _ = strings.Cut(key, "+")
		key += fmt.Sprintf("+%d", try)
	}
	d := newDeployment(q.opt, q.listen)
	d.key = key
	d.settle(q.survey(d, q.former.term), q.unsaved())
	d.slots, d.runs, d.onLost, d.onAnswer = slots, runs, q.workerLost, q.workerAnswers
	if q.opt.Reclaim != nil {
		d.onNeedless = func(files []string) {
			q.keeper.add(chores{prune: batch.None, committed: batch.None, truncate: batch.None, needless: files})
		}
	}
	d.copy()
	d.fewStandbys()
	if err := d.deploy(context.Background()); err != nil {
		q.listen.send(Warning{Doing: "hand the plan to the workers", Err: errors.Join(err, d.undeploy())})
		return false
	}
	q.d = d
	q.showState()
	q.listen.send(WorkersTaken{Workers: ids, Parallelism: q.opt.Parallelism})
	return true
}

// workerLost ends the life of the query because a worker is gone with all it held.
func (q *Query) workerLost(w transport.NodeID, reason string) {
	d := q.d
	if !slices.Contains(d.workers, w) || !d.markLost(w) {
		return
	}
	var running []batch.TaskID
	x := d.running()
	if x != nil {
		running = x.runningOn(w)
	}
	// First the loop: what fails because of the loss must not be told before it.
	q.postNoting(nil, func() {
		q.listen.send(WorkerLost{Worker: w, Reason: reason, Tasks: running})
		q.renewal.died(w, running, q.opt.TaskDeathsMax)
		q.renew(true)
	})
	if x != nil {
		x.abandonOn(w)
	}
	d.fail(gone(w, reason))
}

func gone(w transport.NodeID, reason string) error {
	return batch.ExternalError(fmt.Errorf("worker %s is lost: %s: %w", w, reason, transport.ErrGone), true)
}

// died counts a loss for the tasks that ran there.
func (r *renewal) died(w transport.NodeID, running []batch.TaskID, deathsMax int) {
	if len(running) > 0 {
		for t := range r.deaths {
			if t.Batch != running[0].Batch {
				delete(r.deaths, t)
			}
		}
	}
	for _, t := range running {
		t.Attempt = 0
		if r.deaths == nil {
			r.deaths = map[batch.TaskID]int{}
		}
		if r.deaths[t]++; r.deaths[t] >= deathsMax && r.poison == nil {
			r.poison = &batch.Error{Kind: batch.User, Err: fmt.Errorf("task %s has been running when %d workers were lost, the last one %s: it is not tried again: %w", t, r.deaths[t], w, errPoison)}
		}
	}
}

// unreachable is told of a failure of a batch or a restore. It reports whether the
// failure is that of a worker that cannot be reached: then the life ends for another
// one, in which that worker is missing or can be reached, and the failure counts for
// nothing. It does so a bounded number of times without a batch between.
func (q *Query) unreachable(err error) bool {
	if q.opt.Members == nil || !errors.Is(err, transport.ErrGone) {
		return false
	}
	told := make(chan bool, 1)
	q.postNoting(nil, func() {
		r := &q.renewal
		if at := q.m.Status().Committed; at != r.committed {
			r.committed, r.gone = at, 0
		}
		if r.due { // it is on its way, but may wait for this very batch
			q.step(microbatch.StopRequested{Abandon: true})
			told <- true
			return
		}
		if r.gone++; r.gone > goneMax {
			told <- false
			return
		}
		q.listen.send(Warning{Doing: "begin again on the workers that can be reached", Err: err})
		q.renew(true)
		told <- true
	})
	select {
	case ok := <-told:
		return ok
	case <-q.over:
		return true
	}
}

// goneMax bounds the lives that end one after the other without a batch because a
// worker cannot be reached that counts as there.
const goneMax = 20

// watchMembers ends the life when other workers are there.
func (q *Query) watchMembers(ctx context.Context) {
	moved, stop := q.opt.Members.watch()
	defer stop()
	d := q.d
	settled := make(chan struct{}, 1)
	var disarm func() bool
	defer func() {
		if disarm != nil {
			disarm()
		}
	}()
	for asked, armed := false, false; ; {
		lost, ask, more := d.compare(q.refused.without(q.opt.Members.List()))
		for w, why := range lost {
			q.workerLost(w, why)
		}
		if more && !asked && !armed {
			// They come in company: one change for all of them.
			armed = true
			disarm = q.opt.Clock.AfterFunc(q.opt.SettleTime, func() { settled <- struct{}{} })
		}
		if ask && !asked {
			asked = true
			q.postNoting(nil, func() { q.renew(false) })
		}
		select {
		case <-ctx.Done():
			return
		case <-moved:
		case <-settled:
			armed = false
			if _, _, more := d.compare(q.refused.without(q.opt.Members.List())); more && !asked {
				asked = true
				q.postNoting(nil, func() { q.renew(false) })
			}
		}
	}
}

// compare says which workers of the deployment are lost and why, whether one of them
// drains, and whether there are others that would be of use.
func (d *deployment) compare(members []Member) (lost map[transport.NodeID]string, draining, more bool) {
	lost = map[transport.NodeID]string{}
	now := map[transport.NodeID]Member{}
	others := 0
	for _, m := range members {
		now[m.ID] = m
		if m.State == Joined && d.runs[m.ID] != m.Run {
			others++
		}
	}
	for _, w := range d.workers {
		m, ok := now[w]
		switch {
		case !ok || m.State == Lost:
			lost[w] = "it has not been heard of"
		case m.Run != d.runs[w]:
			lost[w] = "another process has come under its name"
		case m.State == Draining:
			draining = true
		}
	}
	// A worker more takes load off the others if they have several partitions each, or
	// has a copy that none of them can have.
	more = others > 0 && (d.opt.Auto || len(d.workers) < d.parts || d.stateless() || len(d.workers) <= d.opt.Standbys)
	// The state was taken up as it was cut before, though there are more slots.
	more = more || d.opt.Auto && d.parts < min(d.slots, batch.KeyGroups)
	return lost, draining, more
}

func (d *deployment) stateless() bool { return len(d.shards()) == 0 }

// The times of a query on workers that come and go.
const (
	staffRetry = 250 * time.Millisecond
	settleTime = 500 * time.Millisecond
	returnTime = 2 * time.Second
)
