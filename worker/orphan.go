package worker

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/exchange"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/statestore"
)

// When the driver is gone that counted on a plan, the plan is an orphan: its tasks run on,
// what they have made stays, and the next driver that deploys the same plan takes all of it
// over. A Run that asks for what a task of before was asked for goes on with that task, or
// is answered by its result (W8); a task that nobody asks for in time is ended.
//
// The leader before may still throw away the output of results that it was told of. So a
// task with prepared output is adopted only if it ended when nobody was there to be told.

// past is what a plan knows of the lives that it has been through. It is guarded by the
// worker's lock.
type past struct {
	keys      []string // under which it was deployed, the newest last
	homes     transport.Homes
	elsewhere []batch.Shard // of the newest Deploy
	orphan    bool          // no driver counts on it
	newest    batch.ID      // of which a task was asked for
	efforts   map[piece]*effort
	ending    map[*job]bool // orphans that were cancelled and have not ended
	disarm    func()
	relax     func() // nil while it is not armed
}

// piece is a task, whichever attempt at it.
type piece struct {
	batch            batch.ID
	stage, partition int
}

func pieceOf(t batch.TaskID) piece { return piece{t.Batch, t.Stage, t.Partition} }

// effort is a task that a driver that is gone has asked for.
type effort struct {
	spec   batch.TaskSpec // as it was run
	term   batch.Term     // of who asked for it last
	job    *job           // nil if it has ended
	result batch.TaskResult
}

// batchesPast is how many batches a plan remembers the results of.
const batchesPast = 2

func newPast(d transport.Deploy) past {
	return past{keys: []string{d.Key}, homes: d.Homes, elsewhere: d.Elsewhere, newest: batch.None, efforts: map[piece]*effort{}, ending: map[*job]bool{}, disarm: func() {}}
}

func (h *past) key() string { return h.keys[len(h.keys)-1] }

// disarmLocked ends what would end an orphan.
func (h *past) disarmLocked() {
	h.disarm()
	if h.relax != nil {
		h.relax()
		h.relax = nil
	}
}

// lookLocked notes that a task of a batch was asked for, and forgets what lies behind.
func (h *past) lookLocked(id batch.ID) {
	if id <= h.newest {
		return
	}
	h.newest = id
	for at, e := range h.efforts {
		if at.batch >= id {
			continue
		}
		if e.job != nil {
			h.cancelLocked(at, e)
		} else if at.batch <= id-batchesPast {
			delete(h.efforts, at)
		}
	}
}

// cancelLocked ends an orphan that nobody will ask for.
func (h *past) cancelLocked(at piece, e *effort) {
	delete(h.efforts, at)
	h.ending[e.job] = true
	e.job.cancel()
}

// endedLocked takes in how a task has ended. told: a driver is being told, or may have been.
func (h *past) endedLocked(j *job, res batch.TaskResult, err error, told bool) {
	at := pieceOf(j.run.Spec.Task)
	delete(h.ending, j)
	e := h.efforts[at]
	mine := e != nil && e.job == j
	switch {
	case err != nil || told && prepared(res):
		if mine {
			delete(h.efforts, at)
		}
	case mine:
		e.job, e.result = nil, res
	case told && at.batch > h.newest-batchesPast:
		h.efforts[at] = &effort{spec: j.run.Spec, term: j.run.Spec.Term, result: res}
	}
}

// prepared reports whether a sink's Abort would throw something away.
func prepared(r batch.TaskResult) bool {
	return slices.ContainsFunc(r.Prepared, func(p batch.Prepared) bool { return len(p.Payload) > 0 })
}

// remembers reports whether the results of a plan's tasks are of use to a life to come.
// Not where rows are looked up: what the task was told was written down for the life that
// is over, and perhaps after the next one had read what counts.
func (w *Worker) remembers(p *plan) bool {
	return w.opt.KeepFor >= 0 && p.phys != nil && p.phys.Stream && !slices.ContainsFunc(p.phys.Stages, func(s *physical.Stage) bool { return looksUp(s.Root) })
}

func looksUp(n physical.Node) bool {
	if _, ok := n.(*physical.LookupJoin); ok {
		return true
	}
	return slices.ContainsFunc(n.Inputs(), looksUp)
}

// orphan lets a plan go on without a driver, for a while; false if it cannot.
func (w *Worker) orphan(p *plan) bool {
	if !p.isReady() || p.err != nil || !p.remember {
		return false
	}
	w.mu.Lock()
	h := &p.past
	if h.orphan {
		w.mu.Unlock()
		return true
	}
	if w.mu.closing || w.mu.orphans[p.d.Query] != nil {
		w.mu.Unlock()
		return false
	}
	h.orphan = true
	w.mu.orphans[p.d.Query] = p
	var queued []*job
	for id, j := range w.mu.jobs {
		if !slices.Contains(h.keys, j.run.Spec.Plan) {
			continue
		}
		delete(w.mu.jobs, id)
		j.orphan = true
		term := j.asked().Term
		j.heir = nil
		at := pieceOf(j.run.Spec.Task)
		switch e := h.efforts[at]; {
		case !w.slots.begun(j):
			queued, h.ending[j] = append(queued, j), true
		case j.ctx.Err() != nil || e != nil && e.job != nil && e.job != j: // cancelled, or the second attempt
			h.ending[j] = true
			j.cancel()
		default:
			h.efforts[at] = &effort{spec: j.run.Spec, term: term, job: j}
		}
	}
	h.disarm = later(w.clock(), w.opt.KeepFor, func() { w.background(func() { w.expire(p) }) })
	w.relaxLocked(p)
	w.mu.Unlock()
	for _, j := range queued {
		w.end(j)
	}
	return true
}

// relaxLocked lets an orphan without tasks go when somebody needs memory.
func (w *Worker) relaxLocked(p *plan) {
	h := &p.past
	if !h.orphan || h.relax != nil || w.opt.Memory == nil || len(h.ending) > 0 {
		return
	}
	for _, e := range h.efforts {
		if e.job != nil {
			return
		}
	}
	// Not at once: it takes locks.
	h.relax = w.opt.Memory.OnSpill(func(int64) int64 { w.background(func() { w.expire(p) }); return 0 })
}

// expire ends a plan that no driver has taken over.
func (w *Worker) expire(p *plan) {
	w.mu.Lock()
	mine := w.mu.orphans[p.d.Query] == p
	var running []*job
	if mine {
		running = w.leaveLocked(p)
	}
	w.mu.Unlock()
	if mine {
		w.closePlan(p, running)
	}
}

// takeOver hands an orphan to the driver that deploys the same plan again; false if there
// is none that could be. An orphan that is of no use leaves its state.
func (w *Worker) takeOver(from transport.NodeID, d transport.Deploy) bool {
	w.mu.Lock()
	p := w.mu.orphans[d.Query]
	if p == nil {
		w.mu.Unlock()
		return false
	}
	heir, told := w.conn.(Heir)
	if !samePlan(p.d, d) || told && !heir.Inherit(p.past.key(), d) {
		w.mu.Unlock()
		w.undeploy(p.past.key(), true)
		return false
	}
	h := &p.past
	delete(w.mu.orphans, d.Query)
	h.disarmLocked()
	h.orphan, h.homes, h.elsewhere = false, d.Homes, d.Elsewhere
	h.keys = append(h.keys, d.Key)
	w.mu.plans[d.Key] = p
	for at, e := range h.efforts {
		// Whoever runs it now, it is not asked for here.
		if home := d.Homes.Of(at.partition); e.job != nil && home != "" && home != w.net.Local() {
			h.cancelLocked(at, e)
		}
	}
	w.mu.Unlock()
	w.slots.plan(d.Query, d.Quota.Weight)
	w.slots.unplan(d.Query)
	p.renew(w)
	if _, here := d.Plan.(*physical.Plan); !here {
		w.wg.Go(func() { w.send(from, transport.Deployed{Key: d.Key}) })
	}
	return true
}

// samePlan reports whether a plan that is deployed can stand for another. One with copies
// of other workers' state follows those of its own life.
func samePlan(a, b transport.Deploy) bool {
	if len(a.Follows)+len(b.Follows) > 0 || a.Query != b.Query || a.Parts != b.Parts || a.StateDir != b.StateDir || a.Quota.Memory != b.Quota.Memory {
		return false
	}
	x, here := a.Plan.(*physical.Plan)
	y, also := b.Plan.(*physical.Plan)
	if here && also {
		return x == y || x.Key != "" && x.Key == y.Key
	}
	return reflect.DeepEqual(a.Plan, b.Plan)
}

// renew closes the trees of the life before: what they remember may not be what the next
// one goes on from.
func (p *plan) renew(w *Worker) {
	p.mu.Lock()
	trees := p.mu.idle
	p.mu.idle = map[int][]*tree{}
	p.mu.lives++
	p.mu.Unlock()
	w.wg.Go(func() {
		for _, ts := range trees {
			for _, t := range ts {
				_ = t.close() // nobody is left to tell
			}
		}
	})
}

// adoptLocked answers a Run by what a life before has done, or lets it wait for that: then it is
// true. Else the Run is to be run, when all of after are closed.
func (w *Worker) adoptLocked(from transport.NodeID, run transport.Run) (done bool, after []<-chan struct{}) {
	p := w.mu.plans[run.Spec.Plan]
	if p == nil || !p.isReady() || !p.remember || p.admit(run.Spec.Term) != nil {
		return false, nil
	}
	h, at := &p.past, pieceOf(run.Spec.Task)
	h.lookLocked(at.batch)
	if e := h.efforts[at]; e != nil && e.term != run.Spec.Term {
		switch same := e.term < run.Spec.Term && equalSpecs(e.spec, run.Spec); {
		case same && e.job != nil:
			j := e.job
			e.term, j.orphan, j.heir, j.from = run.Spec.Term, false, &run, from
			w.mu.jobs[run.Spec.Task] = j
			return true, nil
		case same && w.there(p, at, e):
			e.term = run.Spec.Term
			if prepared(e.result) { // from now on somebody may throw it away
				delete(h.efforts, at)
			}
			res := adopted(e.result, &run)
			// Not here: the driver may have to take in something before it takes this.
			w.wg.Go(func() { w.send(from, transport.Finished{Result: res}) })
			return true, nil
		case e.job != nil:
			h.cancelLocked(at, e)
		default:
			delete(h.efforts, at)
		}
	}
	return false, w.afterLocked(p, at)
}

// afterLocked are closed when the orphans have ended that a task must not run beside: one
// that was cancelled may be there with the one that was begun after it.
func (w *Worker) afterLocked(p *plan, at piece) (after []<-chan struct{}) {
	for j := range p.past.ending {
		if t := j.run.Spec.Task; t.Stage == at.stage && t.Partition == at.partition {
			after = append(after, j.endedLocked())
		}
	}
	return after
}

// there reports whether what a task has made is still here.
func (w *Worker) there(p *plan, at piece, e *effort) bool {
	for _, s := range p.phys.Stages {
		if _, sink := s.Output.(physical.ToSink); s.ID == at.stage && !sink &&
			!w.outputs.Has(exchange.Ref{Key: p.d.Key, Batch: at.batch, Stage: at.stage, Task: at.partition}) {
			return false
		}
	}
	for _, s := range e.result.Shards {
		if p.store == nil {
			return false
		}
		if v, err := p.store.Digest(s.Shard, at.batch); err != nil || v.Digest != s.Digest {
			return false
		}
	}
	return true
}

// adopted is a result as the answer to another Run.
func adopted(r batch.TaskResult, to *transport.Run) batch.TaskResult {
	r.Task, r.Term, r.Adopted = to.Spec.Task, to.Spec.Term, true
	return r
}

// equalSpecs reports whether two Runs ask for the same: what a life names in its own way
// does not count.
func equalSpecs(a, b batch.TaskSpec) bool {
	if a.Reads == 0 || len(a.Inputs) != len(b.Inputs) {
		return false // of a driver that does not say what is read
	}
	for _, s := range []*batch.TaskSpec{&a, &b} {
		s.Task.Attempt, s.Term, s.Plan, s.SinkPrefix = 0, 0, "", ""
		s.Inputs = slices.Clone(s.Inputs)
		for i := range s.Inputs {
			if s.Inputs[i].Version != "" { // it says which rows they are
				s.Inputs[i].Batch = 0
			}
		}
		if len(s.Splits) == 0 {
			s.Splits = nil
		}
		if len(s.Quarantine) == 0 {
			s.Quarantine = nil
		}
	}
	return slices.Equal(a.Inputs, b.Inputs) && slices.EqualFunc(a.Splits, b.Splits, equalSplits) && slices.Equal(a.Quarantine, b.Quarantine) && equalRest(a, b)
}

func equalSplits(a, b batch.Split) bool {
	return a.Source == b.Source && a.Index == b.Index && string(a.Payload) == string(b.Payload) && a.Rows == b.Rows && a.Bytes == b.Bytes && a.Partition == b.Partition
}

// equalRest compares all that is not a list, so that a field that is new is compared, too.
func equalRest(a, b batch.TaskSpec) bool {
	for _, s := range []*batch.TaskSpec{&a, &b} {
		s.Inputs, s.Splits, s.Quarantine = nil, nil, nil
	}
	return reflect.DeepEqual(a, b)
}

// elsewhere are the shards that others hold, and whether the plan was taken over, so that
// its store may not know of them.
func (w *Worker) elsewhere(p *plan) (shards []batch.Shard, taken bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return p.past.elsewhere, len(p.past.keys) > 1
}

// settle ends the orphans that hold state which is not the one that is restored, and
// returns the versions that those have sealed which go on from it.
func (w *Worker) settle(ctx context.Context, p *plan, m transport.Restore) (map[batch.Shard]statestore.HeldVersion, error) {
	kept := map[batch.Shard]bool{}
	for _, k := range m.Kept {
		kept[k.Shard] = k.Version == m.Batch
	}
	stateful := map[int][]string{}
	for _, s := range p.phys.Stages {
		stateful[s.ID] = s.Stateful
	}
	sealed := map[batch.Shard]statestore.HeldVersion{}
	var wait []<-chan struct{}
	w.mu.Lock()
	h := &p.past
	for at, e := range h.efforts {
		ops := stateful[at.stage]
		if len(ops) == 0 {
			continue
		}
		stays := e.spec.Base == m.Batch && at.batch == m.Batch+1
		first, end := batch.GroupsOf(at.partition, max(e.spec.Parts, 1))
		for _, op := range ops {
			stays = stays && kept[batch.Shard{Operator: op, Partition: at.partition, FirstGroup: first, EndGroup: end}]
		}
		switch {
		case stays:
			for _, s := range e.result.Shards {
				sealed[s.Shard] = statestore.HeldVersion{Shard: s.Shard, Version: at.batch, Digest: s.Digest}
			}
		case e.job != nil:
			h.cancelLocked(at, e)
		default:
			delete(h.efforts, at)
		}
	}
	for j := range h.ending {
		if len(stateful[j.run.Spec.Task.Stage]) > 0 {
			wait = append(wait, j.endedLocked())
		}
	}
	w.mu.Unlock()
	if !w.haveEnded(ctx, wait...) { // the next life finds the state in its checkpoint
		return nil, batch.ExternalError(fmt.Errorf("restore plan %s: a task of the life before does not end: %w", m.Key, transport.ErrGone), true)
	}
	return sealed, nil
}
