package worker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor"
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
	if len(w.mu.queue) >= w.opt.QueueMax {
		w.mu.Unlock()
		w.send(from, transport.Failed{Task: spec.Task, Term: spec.Term, Err: batch.ExternalError(errQueueFull, true)})
		return
	}
	j := &job{from: from, run: run}
	j.ctx, j.cancel = context.WithCancel(w.ctx)
	w.mu.jobs[spec.Task] = j
	w.mu.queue = append(w.mu.queue, j)
	w.mu.Unlock()
	w.ready <- struct{}{} // never waits: there is a token for each place in the queue
}

// cancelTask ends a task; its slot answers for it. A task that is not here was
// answered before, or never came: then there is nothing to free.
func (w *Worker) cancelTask(id batch.TaskID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if j := w.mu.jobs[id]; j != nil {
		j.cancel()
	}
}

func (w *Worker) slot() {
	defer w.wg.Done()
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-w.ready:
		}
		w.mu.Lock()
		if w.mu.surplus > 0 {
			w.mu.surplus--
			w.mu.Unlock()
			w.ready <- struct{}{} // it is another slot's
			return
		}
		j := w.mu.queue[0]
		w.mu.queue[0] = nil
		if w.mu.queue = w.mu.queue[1:]; len(w.mu.queue) == 0 {
			w.mu.queue = nil
		}
		w.mu.Unlock()
		w.runJob(j)
	}
}

// yield gives the place of a task that waits for its reader to another slot, which
// ends some time after the task goes on. Else a reader that nobody reads would keep
// other queries from running.
func (w *Worker) yield() (resume func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.surplus > 0 {
		w.mu.surplus--
	} else {
		w.wg.Add(1) // the task's own slot counts as well: nobody has waited to the end
		go w.slot()
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.mu.surplus++
	}
}

func (w *Worker) runJob(j *job) {
	spec := j.run.Spec
	ev := TaskEvent{Key: spec.Plan, Spec: spec}
	ev.Result, ev.Err = w.runTask(j, &ev)
	cancelled := j.ctx.Err() != nil
	j.cancel()
	w.mu.Lock()
	delete(w.mu.jobs, spec.Task)
	w.mu.Unlock()
	if w.watched(ev.Key) {
		w.opt.OnTask(ev)
	}
	if ev.Err == nil {
		w.send(j.from, transport.Finished{Result: ev.Result})
		return
	}
	if cancelled {
		ev.Err = errors.Join(errCancelled, ev.Err)
	}
	w.send(j.from, transport.Failed{Task: spec.Task, Term: spec.Term, Err: ev.Err})
}

// watched reports whether somebody wants to know what tasks of a plan did.
func (w *Worker) watched(key string) bool {
	return w.opt.OnTask != nil && (w.opt.Watched == nil || w.opt.Watched(key))
}

func (w *Worker) runTask(j *job, ev *TaskEvent) (res batch.TaskResult, err error) {
	if err := j.ctx.Err(); err != nil {
		return res, err
	}
	spec := j.run.Spec
	p, err := w.plan(spec.Plan)
	if err != nil {
		return res, err
	}
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
	watched := w.watched(ev.Key)
	t.task.Measure(watched)
	res, err = t.task.Run(j.ctx, w.env(p, t, j), spec)
	if watched {
		ev.Operators = t.task.Stats()
	}
	return res, errors.Join(err, p.give(spec.Task.Stage, t))
}

func (w *Worker) env(p *plan, t *tree, j *job) executor.Env {
	key := p.d.Key
	env := executor.Env{
		Alloc:   t.alloc,
		Parts:   max(p.d.Parts, 1),
		Outputs: w.outputs,
		Tables:  p.tables,
		Nanos:   w.nanos,
		Yield:   w.yield,
		Opener:  func(source string) (sources.Opener, error) { return w.conn.Opener(key, source) },
		Writers: func(sink string) (sinks.WriterFactory, error) { return w.conn.Writers(key, sink) },
		Fetch: func(ctx context.Context, spec *batch.TaskSpec, in batch.Input, part, parts int) (sources.Reader, error) {
			return w.fetch(ctx, j.run, p.d.Homes, in, part, parts, t.alloc)
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
		env.Budget = w.opt.Memory.Limit()
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
