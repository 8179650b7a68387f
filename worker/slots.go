package worker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor"
	"github.com/sluice-stream/sluice/internal/fault"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/statestore"
)

// job is a Run that is queued or running.
type job struct {
	from   transport.NodeID
	run    transport.Run
	ctx    context.Context
	cancel context.CancelFunc
	begun  bool // by slots.mu: it has left the queue
	place  place
	after  []<-chan struct{} // it must not run before they are closed
	homes  transport.Homes   // when it began
	// By Worker.mu.
	orphan bool           // nobody is to be told how it ends
	heir   *transport.Run // that is answered in place of run; nil if nobody has taken it over
	ended  chan struct{}  // closed at its end; nil if nobody waits for that
}

// asked is the Run that is answered.
func (j *job) asked() *batch.TaskSpec {
	if j.heir != nil {
		return &j.heir.Spec
	}
	return &j.run.Spec
}

// endedLocked is closed when the job has ended. It must not have.
func (j *job) endedLocked() <-chan struct{} {
	if j.ended == nil {
		j.ended = make(chan struct{})
	}
	return j.ended
}

var (
	errQueueFull = errors.New("too many tasks wait on this worker")
	errCancelled = errors.New("the task was cancelled")
)

// enqueue hands a Run to the slots (W1).
func (w *Worker) enqueue(from transport.NodeID, run transport.Run) {
	spec := &run.Spec
	w.mu.Lock()
	if w.mu.jobs[spec.Task] != nil {
		w.mu.Unlock()
		return // it came twice
	}
	done, after := w.adoptLocked(from, run)
	if done {
		w.mu.Unlock()
		return
	}
	j := &job{from: from, run: run, after: after}
	j.ctx, j.cancel = context.WithCancel(w.ctx)
	w.mu.jobs[spec.Task] = j
	w.mu.Unlock()
	if w.slots.add(j, w.opt.QueueMax) {
		return
	}
	w.forget(j, batch.TaskResult{}, errQueueFull)
	w.send(from, transport.Failed{Task: spec.Task, Term: spec.Term, Err: batch.ExternalError(errQueueFull, true)})
}

// forget takes in how a task has ended, and returns who is to be told; "" for nobody. heir
// is the Run that has taken the task over.
func (w *Worker) forget(j *job, res batch.TaskResult, err error) (from transport.NodeID, heir *transport.Run) {
	j.cancel()
	w.mu.Lock()
	defer w.mu.Unlock()
	if id := j.asked().Task; w.mu.jobs[id] == j {
		delete(w.mu.jobs, id)
	}
	if p := w.mu.plans[j.run.Spec.Plan]; p != nil && p.isReady() && p.remember {
		p.past.endedLocked(j, res, err, !j.orphan)
		w.relaxLocked(p)
	}
	if j.ended != nil {
		close(j.ended)
	}
	if j.orphan {
		return "", nil
	}
	return j.from, j.heir
}

// cancelTask ends a task; its slot answers for it. A task that is not here was
// answered before, or never came: then there is nothing to free.
func (w *Worker) cancelTask(id batch.TaskID) {
	w.mu.Lock()
	j := w.mu.jobs[id]
	w.mu.Unlock()
	if j != nil {
		w.end(j)
	}
}

// end cancels a task. One that has not begun is answered at once: others may hold the
// slots for long.
func (w *Worker) end(j *job) {
	j.cancel()
	if w.slots.withdraw(j) {
		w.wg.Go(func() { w.runJob(j) }) // it finds that it was cancelled
	}
}

// begin runs a task that has been given a slot, and those that take its place. Idle
// goroutines are kept: their stacks have grown.
func (w *Worker) begin(j *job) {
	select {
	case w.idle <- j:
	default:
		w.wg.Add(1) // the caller counts as well: nobody has waited to the end
		go w.slot(j)
	}
}

func (w *Worker) slot(j *job) {
	defer w.wg.Done()
	for {
		for j != nil && w.ctx.Err() == nil {
			w.runJob(j)
			j = w.slots.finish(j)
		}
		if w.idling.Add(1) > int32(w.opt.Slots) {
			w.idling.Add(-1)
			return
		}
		select {
		case <-w.ctx.Done():
			return
		case j = <-w.idle:
			w.idling.Add(-1)
		}
	}
}

func (w *Worker) runJob(j *job) {
	spec := j.run.Spec
	var res batch.TaskResult
	p, err := w.planOf(j)
	if err == nil {
		res, err = w.runTask(p, j)
	}
	cancelled := j.ctx.Err() != nil
	from, heir := w.forget(j, res, err)
	asked := spec
	switch {
	case from == "":
		return
	case err == nil:
		if heir != nil {
			res = adopted(res, heir)
		}
		fault.Hit(fault.C5)
		w.send(from, transport.Finished{Result: res})
		return
	case heir != nil && !cancelled: // it may have missed what was there before
		w.enqueue(from, *heir)
		return
	case heir != nil:
		asked = heir.Spec
	}
	if cancelled {
		err = errors.Join(errCancelled, err)
	}
	w.send(from, transport.Failed{Task: asked.Task, Term: asked.Term, Err: err})
}

// planOf is the plan of a task that begins.
func (w *Worker) planOf(j *job) (*plan, error) {
	if err := j.ctx.Err(); err != nil {
		return nil, err
	}
	p, err := w.plan(j.run.Spec.Plan)
	if err != nil {
		return nil, err
	}
	select { // before anything is known of it
	case <-p.ready:
	case <-j.ctx.Done():
		return nil, context.Cause(j.ctx)
	}
	for _, ended := range j.after {
		select {
		case <-ended:
		case <-j.ctx.Done():
			return nil, context.Cause(j.ctx)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	j.homes = p.past.homes
	return p, nil
}

func (w *Worker) runTask(p *plan, j *job) (res batch.TaskResult, err error) {
	spec := j.run.Spec
	done, err := p.use(j.ctx)
	if err != nil {
		return res, err
	}
	defer done()
	if err := p.admit(spec.Term); err != nil {
		return res, err
	}
	t, err := p.take(spec.Task.Stage, spec.Task.Partition)
	if err != nil {
		return res, err
	}
	t.task.Measure(p.d.Measure)
	spec.Plan = p.d.Key // what it makes is known by it, whoever has deployed the plan since
	res, err = t.task.Run(j.ctx, w.env(p, t, j), spec)
	return res, errors.Join(err, p.give(spec.Task.Stage, t))
}

func (w *Worker) env(p *plan, t *tree, j *job) executor.Env {
	key := p.d.Key
	env := executor.Env{
		Alloc:   t.alloc,
		Parts:   max(p.d.Parts, 1),
		Outputs: w.outputs,
		Tables:  p.tables,
		Nanos:   w.nanosOf(j),
		Turn: func() error {
			fault.Hit(fault.C4)
			return w.slots.turn(j.ctx, j)
		},
		Yield:   func() func() { return w.slots.lend(j.ctx, j, false) },
		Lend:    func() func() { return w.slots.lend(j.ctx, j, true) },
		Opener:  func(source string) (sources.Opener, error) { return w.conn.Opener(key, source) },
		Writers: func(sink string) (sinks.WriterFactory, error) { return w.conn.Writers(key, sink) },
		Fetch: func(ctx context.Context, spec *batch.TaskSpec, in batch.Input, part, parts int) (sources.Reader, error) {
			return w.fetch(ctx, j, p.d.Key, in, part, parts, t.alloc)
		},
		Begin: func(ctx context.Context, shard batch.Shard, base batch.ID) (statestore.Txn, error) {
			if p.store == nil {
				return nil, fmt.Errorf("plan %s has no state", key)
			}
			p.noteShard(shard)
			return p.store.Begin(ctx, shard, base)
		},
	}
	if t.track != nil {
		env.Pressure = t.track.UnderPressure
		if env.Budget = w.opt.Memory.Limit(); p.d.Quota.Memory > 0 && (env.Budget == 0 || p.d.Quota.Memory < env.Budget) {
			env.Budget = p.d.Quota.Memory
		}
		env.Charge = func(n int64) error {
			if n < 0 {
				t.track.Release(-n)
				return nil
			}
			return t.track.Reserve(n)
		}
	}
	if w.opt.SpillDir != "" {
		id := j.run.Spec.Task
		env.Spill = filepath.Join(w.opt.SpillDir, fmt.Sprintf("task-%p-%d-%d-%d-%d", p, id.Batch, id.Stage, id.Partition, id.Attempt))
	}
	return env
}

// nanosOf is the clock by which a task is measured: it stands still while the task has
// no slot.
func (w *Worker) nanosOf(j *job) func() int64 {
	if w.nanos == nil {
		return nil
	}
	return func() int64 { return w.nanos() - j.place.away }
}
