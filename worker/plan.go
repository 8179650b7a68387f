package worker

import (
	"context"
	"errors"
	"fmt"
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

	mu struct {
		sync.Mutex
		idle   map[int][]*tree // by stage, the last used at the end
		shards map[batch.Shard]bool
		term   batch.Term
		closed bool
		users  int // tasks and duties under way
	}
}

// tree is a built task and what it allocates from, which outlives a run because
// hash tables of joins do.
type tree struct {
	task  *executor.Task
	last  int // the partition that it ran last: its caches fit that one
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

func (w *Worker) deploy(d transport.Deploy) {
	w.mu.Lock()
	if w.mu.plans[d.Key] != nil {
		w.mu.Unlock()
		return // the message came twice
	}
	p := &plan{d: d, ready: make(chan struct{}), alloc: w.opt.Alloc, tables: executor.NewTables()}
	p.mu.idle, p.mu.shards = map[int][]*tree{}, map[batch.Shard]bool{}
	w.mu.plans[d.Key] = p
	if p.alloc == nil {
		p.alloc = memory.DefaultAllocator
	}
	if w.opt.Memory != nil {
		p.track = w.opt.Memory.Child("query "+string(d.Query), 0)
	}
	w.mu.Unlock()
	planner, plans := w.conn.(Planner)
	if phys, ok := d.Plan.(*physical.Plan); ok || !plans {
		if p.phys = phys; !ok {
			p.err = fmt.Errorf("deploy %s: a plan in the form %T is unknown here", d.Key, d.Plan)
		}
		w.open(p)
		return
	}
	p.mu.users++ // it is used until it is ready
	w.wg.Go(func() {
		p.phys, p.gone, p.err = planner.Plan(w.ctx, d)
		w.open(p)
		p.done()
	})
}

// open opens the state of a plan and lets tasks begin.
func (w *Worker) open(p *plan) {
	defer close(p.ready)
	if p.err != nil {
		return
	}
	p.byPart = map[int]bool{}
	for _, s := range p.phys.Stages {
		p.byPart[s.ID] = s.Kind == physical.Hash
		if len(s.Stateful) > 0 && p.store == nil && p.err == nil {
			if p.store, p.err = w.conn.State(p.d); p.err != nil {
				p.err = fmt.Errorf("open the state of query %s: %w", p.d.Query, p.err)
			}
		}
	}
}

// Plans is how many plans are deployed here: none, if the worker may leave.
func (w *Worker) Plans() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.mu.plans)
}

// undeploy closes what is idle; what is in use closes when it comes back.
func (w *Worker) undeploy(key string) {
	w.mu.Lock()
	p := w.mu.plans[key]
	delete(w.mu.plans, key)
	for _, j := range w.mu.jobs {
		if j.run.Spec.Plan == key {
			j.cancel()
		}
	}
	w.mu.Unlock()
	if p == nil {
		return
	}
	// Not a duty: it has to be done even while the worker closes.
	w.wg.Go(func() {
		_ = p.close() // nobody is left to tell
		w.outputs.Drop(key)
	})
}

// reset undeploys all plans.
func (w *Worker) reset() {
	w.mu.Lock()
	keys := make([]string, 0, len(w.mu.plans))
	for k := range w.mu.plans {
		keys = append(keys, k)
	}
	w.mu.Unlock()
	for _, k := range keys {
		w.undeploy(k)
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
		errs = append(errs, p.closeStore())
	}
	return errors.Join(errs...)
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
		return nil, fmt.Errorf("plan %s has been undeployed", p.d.Key)
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
		_ = p.closeStore() // undeployed: nobody is left to tell
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
	t := &tree{task: task, last: partition, alloc: p.alloc}
	if p.track != nil {
		t.track = p.track.Child(fmt.Sprintf("stage %d", stage), 0)
		t.alloc = t.track.Allocator(p.alloc)
	}
	return t, nil
}

// give takes a tree back. One that a panic went through is closed instead.
func (p *plan) give(stage int, t *tree) error {
	p.mu.Lock()
	keep := !p.mu.closed && !t.task.Broken()
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
