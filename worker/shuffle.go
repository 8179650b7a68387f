package worker

import (
	"context"
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
func (w *Worker) fetch(ctx context.Context, run transport.Run, in batch.Input, part, parts int, alloc memory.Allocator) (sources.Reader, error) {
	ref := exchange.Ref{Key: run.Spec.Plan, Batch: in.Batch, Stage: in.Stage}
	var where []transport.NodeID
	for i, x := range run.Spec.Inputs {
		if x.Stage == in.Stage && i < len(run.Where) {
			where = run.Where[i]
		}
	}
	local := true
	for _, n := range where {
		local = local && n == w.net.Local()
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

// remoteTasks opens the output of one task at a time, here or elsewhere.
type remoteTasks struct {
	w           *Worker
	ref         exchange.Ref
	where       []transport.NodeID
	tasks       int
	part, parts int
	alloc       memory.Allocator
	at          int
	cur         sources.Reader
}

func (r *remoteTasks) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for {
		if r.cur == nil {
			if r.at == r.tasks {
				return nil, io.EOF
			}
			if err := r.open(ctx); err != nil {
				return nil, err
			}
			r.at++
		}
		rec, err := r.cur.Next(ctx)
		if err != io.EOF {
			return rec, err
		}
		if err := r.Close(); err != nil {
			return nil, err
		}
	}
}

func (r *remoteTasks) open(ctx context.Context) error {
	if r.at >= len(r.where) {
		return fmt.Errorf("nobody says where the output of task %d of stage %d lies", r.at, r.ref.Stage)
	}
	ref := r.ref
	ref.Task = r.at
	var err error
	if node := r.where[r.at]; node == r.w.net.Local() {
		r.cur, err = r.w.outputs.Reader(ref, r.part, r.parts)
	} else {
		part := r.part
		if r.parts == 0 {
			part = 0
		}
		r.cur, err = r.w.net.Fetch(ctx, node, transport.StreamRef{Key: ref.Key, Batch: ref.Batch, Stage: ref.Stage, Task: ref.Task, Partition: part}, r.alloc)
	}
	return err
}

func (r *remoteTasks) Close() error {
	if r.cur == nil {
		return nil
	}
	c := r.cur
	r.cur = nil
	return c.Close()
}
