package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor"
	limits "github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/statestore"
)

// plan is a deployed plan: its trees that wait for work, its state and its term.
type plan struct {
	d     transport.Deploy
	ready chan struct{} // closed when what follows is known
	phys  *physical.Plan
	err   error  // why it could not be deployed; every Run answers it
	gone  func() // gives back what was opened to plan it; nil for nothing
	store statestore.Store
	alloc memory.Allocator // if there is no budget
	track *limits.Tracker  // nil without a budget
	// tables are the join tables that its tasks share.
	tables *executor.Tables
	// byPart are the stages whose tasks are partitions. Read only after deploy.
	byPart map[int]bool
	// end gives the state back when nobody uses it any more, or keeps it in k.
	end func(k *kept) error
	// copies follows shards of other workers; nil without any.
	copies *follower
	// remember says that what its tasks have done may be of use to a life to come.
	remember bool
	past     past // by Worker.mu

	mu struct {
		sync.Mutex
		kept   *kept           // takes the state when the plan ends
		life   batch.Term      // whose state all of it is; 0 if that is not so
		idle   map[int][]*tree // by stage, the last used at the end
		shards map[batch.Shard]bool
		term   batch.Term
		closed bool
		users  int // tasks and duties under way
		lives  int // that have taken it over: trees do not outlive one
	}
}

// tree is a built task and what it allocates from, which outlives a run because
// hash tables of joins do.
type tree struct {
	task  *executor.Task
	last  int // the partition that it ran last: its caches fit that one
	life  int // of the plan's lives
	alloc memory.Allocator
	track *limits.Tracker
}

func (t *tree) close() error {
	err := t.task.Close()
	if t.track != nil {
		t.track.Close()
	}
	return err
}

func (w *Worker) deploy(from transport.NodeID, d transport.Deploy) {
	if w.takeOver(from, d) {
		return
	}
	w.mu.Lock()
	if w.mu.plans[d.Key] != nil {
		w.mu.Unlock()
		return // the message came twice
	}
	p := &plan{d: d, past: newPast(d), ready: make(chan struct{}), alloc: w.opt.Alloc, tables: executor.NewTables()}
	p.mu.idle, p.mu.shards = map[int][]*tree{}, map[batch.Shard]bool{}
	p.end = func(k *kept) error { return w.release(p, k) }
	w.beginFollowing(p, from)
	w.mu.plans[d.Key] = p
	if p.alloc == nil {
		p.alloc = memory.DefaultAllocator
	}
	if w.opt.Memory != nil {
		p.track = w.opt.Memory.Child("query "+string(d.Query), d.Quota.Memory)
	}
	w.mu.Unlock()
	w.slots.plan(d.Query, d.Quota.Weight)
	planner, plans := w.conn.(Planner)
	phys, here := d.Plan.(*physical.Plan)
	if p.phys = phys; !here && !plans {
		p.err = fmt.Errorf("deploy %s: a plan in the form %T is unknown here", d.Key, d.Plan)
	}
	if (here || !plans) && !w.keeps(d.Query) {
		w.open(p)
		close(p.ready)
		return
	}
	p.mu.users++ // it is used until it is ready
	w.wg.Go(func() {
		if !here && plans {
			p.phys, p.gone, p.err = planner.Plan(w.ctx, d)
		}
		w.open(p) // may wait for tasks of the plan before
		if !here && !errors.Is(p.err, errUndeployed) {
			w.send(from, transport.Deployed{Key: d.Key, Err: p.err}) // before the answer of any task
		}
		close(p.ready)
		p.done()
	})
}

// open opens the state of a plan.
func (w *Worker) open(p *plan) {
	if p.err != nil {
		return
	}
	p.byPart, p.remember = map[int]bool{}, w.remembers(p)
	for _, s := range p.phys.Stages {
		p.byPart[s.ID] = s.Kind == physical.Hash
		if len(s.Stateful) > 0 && p.store == nil && p.err == nil && !w.inherit(p) {
			if !w.deployed(p) { // its folder may be another plan's by now
				p.err = fmt.Errorf("plan %s: %w", p.d.Key, errUndeployed)
				continue
			}
			store, err := w.conn.State(p.d, p.track)
			if err != nil { // what it returns besides may be a nil of some type
				p.err = fmt.Errorf("open the state of query %s: %w", p.d.Query, err)
				continue
			}
			p.store = store
		}
	}
}

// errUndeployed says that a plan has ended before something of it was done.
var errUndeployed = errors.New("it has been undeployed")

// deployed reports whether a plan has not ended.
func (w *Worker) deployed(p *plan) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.plans[p.d.Key] == p
}

// Plans is how many plans drivers count on here: none, if the worker may leave.
func (w *Worker) Plans() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, p := range w.mu.plans {
		if !p.past.orphan && key == p.past.key() {
			n++
		}
	}
	return n
}

// undeploy closes what is idle; what is in use closes when it comes back. The state is
// kept for the next plan of the query, if keep is set.
func (w *Worker) undeploy(key string, keep bool) {
	w.mu.Lock()
	p := w.mu.plans[key]
	if p == nil || p.past.key() != key { // nobody is, or another driver has it by now
		w.mu.Unlock()
		return
	}
	if keep {
		p.mu.Lock()
		p.mu.kept = w.keepLocked(p)
		p.mu.Unlock()
	}
	running := w.leaveLocked(p)
	w.mu.Unlock()
	w.closePlan(p, running)
}

// leaveLocked takes a plan out of the worker's hands and returns its tasks.
func (w *Worker) leaveLocked(p *plan) (running []*job) {
	for _, k := range p.past.keys {
		delete(w.mu.plans, k)
	}
	if w.mu.orphans[p.d.Query] == p {
		delete(w.mu.orphans, p.d.Query)
	}
	p.past.disarmLocked()
	for id, j := range w.mu.jobs {
		if slices.Contains(p.past.keys, j.run.Spec.Plan) {
			running = append(running, j)
			delete(w.mu.jobs, id) // another life may ask for the same
		}
	}
	for at, e := range p.past.efforts {
		if e.job != nil && e.job.orphan {
			running = append(running, e.job)
		}
		delete(p.past.efforts, at)
	}
	return running
}

// closePlan ends the tasks of a plan that nobody counts on, and what it holds.
func (w *Worker) closePlan(p *plan, running []*job) {
	for _, j := range running {
		w.end(j)
	}
	w.slots.unplan(p.d.Query)
	if p.copies != nil {
		p.copies.cancel()
	}
	// Not a duty: it has to be done even while the worker closes.
	w.wg.Go(func() {
		_ = p.close() // nobody is left to tell
		w.outputs.Drop(p.d.Key)
	})
}

// reset lets all plans go on without a driver: the one that comes next may go on with
// them, or with their state.
func (w *Worker) reset() {
	w.mu.Lock()
	plans := map[string]*plan{}
	for _, p := range w.mu.plans {
		plans[p.past.key()] = p
	}
	w.mu.Unlock()
	for key, p := range plans {
		if !w.orphan(p) {
			w.undeploy(key, true)
		}
	}
}

// close closes the trees that are idle, and the rest once no task uses the plan.
func (p *plan) close() error {
	p.mu.Lock()
	p.mu.closed = true
	trees, last := p.mu.idle, p.mu.users == 0
	p.mu.idle = map[int][]*tree{}
	p.mu.Unlock()
	p.tables.Close() // before the trackers that it is counted by
	var errs []error
	for _, ts := range trees {
		for _, t := range ts {
			errs = append(errs, t.close())
		}
	}
	if last {
		errs = append(errs, p.over())
	}
	return errors.Join(errs...)
}

// over is called when nobody uses a plan any more.
func (p *plan) over() error {
	p.mu.Lock()
	k := p.mu.kept
	p.mu.Unlock()
	return p.end(k)
}

func (p *plan) closeStore() error {
	var err error
	if p.store != nil {
		err = p.store.Close()
	}
	if p.gone != nil {
		p.gone()
	}
	if p.track != nil {
		p.track.Close()
	}
	return err
}

func (p *plan) isReady() bool {
	select {
	case <-p.ready:
		return true
	default:
		return false
	}
}

// use waits until the plan is ready and keeps its store open until done is called.
func (p *plan) use(ctx context.Context) (done func(), err error) {
	select {
	case <-p.ready:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if p.err != nil {
		return nil, p.err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.closed {
		return nil, fmt.Errorf("plan %s: %w", p.d.Key, errUndeployed)
	}
	p.mu.users++
	return p.done, nil
}

func (p *plan) done() {
	p.mu.Lock()
	p.mu.users--
	last := p.mu.closed && p.mu.users == 0
	p.mu.Unlock()
	if last {
		_ = p.over() // undeployed: nobody is left to tell
	}
}

// admit refuses a leader that has been followed by another (W3).
func (p *plan) admit(term batch.Term) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if term < p.mu.term {
		return fmt.Errorf("task of term %d: %w %d", term, batch.ErrFenced, p.mu.term)
	}
	p.mu.term = term
	return nil
}

// take returns a tree for a stage. What a tree of a hash stage remembers (hash
// tables, when windows are due) belongs to a partition, so each partition has
// its own; a tree of splits fits any of them.
func (p *plan) take(stage, partition int) (*tree, error) {
	p.mu.Lock()
	life := p.mu.lives
	ts := p.mu.idle[stage]
	at := -1
	for i, t := range ts {
		if t.last == partition || !p.byPart[stage] {
			at = i
		}
	}
	if at >= 0 {
		t := ts[at]
		p.mu.idle[stage] = append(ts[:at], ts[at+1:]...)
		p.mu.Unlock()
		t.last = partition
		return t, nil
	}
	p.mu.Unlock()
	task, err := executor.Build(p.phys, stage)
	if err != nil {
		return nil, err
	}
	t := &tree{task: task, last: partition, life: life, alloc: p.alloc}
	if p.track != nil {
		t.track = p.track.Child(fmt.Sprintf("stage %d", stage), 0)
		t.alloc = t.track.Allocator(p.alloc)
	}
	return t, nil
}

// give takes a tree back. One that a panic went through is closed instead.
func (p *plan) give(stage int, t *tree) error {
	p.mu.Lock()
	keep := !p.mu.closed && t.life == p.mu.lives && !t.task.Broken()
	if keep {
		p.mu.idle[stage] = append(p.mu.idle[stage], t)
	}
	p.mu.Unlock()
	if keep {
		return nil
	}
	return t.close()
}

func (p *plan) noteShard(s batch.Shard) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.shards[s] = true
}
