package worker

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/exchange"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sources"
)

// fetch reads an upstream stage for a task: what lies here directly, the rest
// from where Run.Where says, always in task order.
func (w *Worker) fetch(ctx context.Context, run transport.Run, homes transport.Homes, in batch.Input, part, parts int, alloc memory.Allocator) (sources.Reader, error) {
	ref := exchange.Ref{Key: run.Spec.Plan, Batch: in.Batch, Stage: in.Stage}
	where := func(int) transport.NodeID { return w.net.Local() }
	for i, x := range run.Spec.Inputs {
		if x.Stage != in.Stage || i >= len(run.Where) {
			continue
		}
		if nodes := run.Where[i]; nodes == nil {
			where = homes.Of
		} else if len(nodes) >= in.Tasks {
			where = func(task int) transport.NodeID { return nodes[task] }
		} else {
			return nil, fmt.Errorf("stage %d has %d tasks, and it is said of %d where their outputs lie", in.Stage, in.Tasks, len(nodes))
		}
	}
	local := true
	for task := range in.Tasks {
		local = local && where(task) == w.net.Local()
	}
	if local {
		return w.outputs.Tasks(ref, in.Tasks, part, parts)
	}
	return &remoteTasks{w: w, ref: ref, where: where, tasks: in.Tasks, part: part, parts: parts, alloc: alloc}, nil
}

// serve answers other nodes, and whoever reads what a plan gives its client.
func (w *Worker) serve(ctx context.Context, ref transport.StreamRef) (sources.Reader, error) {
	out := exchange.Ref{Key: ref.Key, Batch: ref.Batch, Stage: ref.Stage, Task: ref.Task}
	if ref.Follow { // perhaps before the plan and the task are here
		return w.outputs.Follow(out, ref.Attempt)
	}
	p, err := w.plan(ref.Key)
	if err != nil {
		return nil, err
	}
	done, err := p.use(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	parts := 0
	for _, s := range p.phys.Stages {
		if _, hash := s.Output.(physical.ToHash); hash && s.ID == ref.Stage {
			parts = max(p.d.Parts, 1)
		}
	}
	return w.outputs.Reader(out, ref.Partition, parts)
}

// Read returns the rows that a stage with output to the client made in a batch,
// in task order, for a client in this process.
func (w *Worker) Read(key string, id batch.ID, stage, tasks int) (sources.Reader, error) {
	return w.outputs.Tasks(exchange.Ref{Key: key, Batch: id, Stage: stage}, tasks, 0, 0)
}

// aheadMax is how many tasks' outputs are open at a time: one is read, and of the others
// the first rows come meanwhile, as many as the network's windows hold.
const aheadMax = 4

// remoteTasks reads the outputs of tasks in their order, here or elsewhere. Its results
// depend on nothing but the order. What is not asked for stays with the worker that made
// it, which has spilled it if its memory is short: a reader takes no more than it reads.
type remoteTasks struct {
	w           *Worker
	ref         exchange.Ref
	where       func(task int) transport.NodeID
	tasks       int
	part, parts int
	alloc       memory.Allocator
	at          int              // the next task to open
	open        []sources.Reader // of the tasks before at; the first one is read
}

func (r *remoteTasks) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for {
		if err := r.openAhead(ctx); err != nil {
			return nil, err
		}
		if len(r.open) == 0 {
			return nil, io.EOF
		}
		rec, err := r.open[0].Next(ctx)
		if err != io.EOF {
			return rec, err
		}
		done := r.open[0]
		r.open = r.open[1:]
		if err := done.Close(); err != nil {
			return nil, err
		}
	}
}

// openAhead opens what is read next, and more unless memory is short.
func (r *remoteTasks) openAhead(ctx context.Context) error {
	most := aheadMax
	if m := r.w.opt.Memory; m != nil && m.UnderPressure() {
		most = 1
	}
	for r.at < r.tasks && len(r.open) < most {
		in, err := r.openTask(ctx, r.at)
		if err != nil {
			return err
		}
		r.open = append(r.open, in)
		r.at++
	}
	return nil
}

func (r *remoteTasks) openTask(ctx context.Context, task int) (sources.Reader, error) {
	ref := r.ref
	ref.Task = task
	node := r.where(task)
	if node == r.w.net.Local() {
		return r.w.outputs.Reader(ref, r.part, r.parts)
	}
	part := r.part
	if r.parts == 0 {
		part = 0
	}
	return r.w.net.Fetch(ctx, node, transport.StreamRef{Key: ref.Key, Batch: ref.Batch, Stage: ref.Stage, Task: ref.Task, Partition: part}, r.alloc)
}

func (r *remoteTasks) Close() error {
	var errs []error
	for _, in := range r.open {
		errs = append(errs, in.Close())
	}
	r.open, r.at = nil, r.tasks
	return errors.Join(errs...)
}
