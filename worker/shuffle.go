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
// Others know the plan by the key of the Run, and what lies here is known by own.
func (w *Worker) fetch(ctx context.Context, j *job, own string, in batch.Input, part, parts int, alloc memory.Allocator) (sources.Reader, error) {
	run, homes := &j.run, j.homes
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
		ref.Key = own
		return w.outputs.Tasks(ref, in.Tasks, part, parts)
	}
	return &remoteTasks{w: w, ref: ref, own: own, where: where, tasks: in.Tasks, part: part, parts: parts, alloc: alloc}, nil
}

// serve answers other nodes, and whoever reads what a plan gives its client.
func (w *Worker) serve(ctx context.Context, ref transport.StreamRef) (sources.Reader, error) {
	switch ask := ref.Ask.(type) {
	case transport.Changes:
		return w.serveChanges(ctx, ref.Key, ask)
	case transport.ReadState:
		return w.serveState(ctx, ref.Key, ask)
	case transport.Look, transport.Settle:
		return nil, fmt.Errorf("a worker does not answer %T: its query's driver does", ask)
	}
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
	out.Key = p.d.Key
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
	if p, err := w.plan(key); err == nil {
		key = p.d.Key
	}
	return w.outputs.Tasks(exchange.Ref{Key: key, Batch: id, Stage: stage}, tasks, 0, 0)
}

// aheadMax is how many other workers' streams are opened at a time. Twice as many are open
// at most: what comes by those that are not read yet are the first rows, as many as the
// network's windows hold.
const aheadMax = 4

// remoteTasks reads the outputs of tasks in their order, here or elsewhere. Its results
// depend on nothing but the order. What is not asked for stays with the worker that made
// it, which has spilled it if its memory is short: a reader takes no more than it reads.
// What lies on one other worker comes by one stream, since to begin one takes as long as
// many rows do.
type remoteTasks struct {
	w           *Worker
	ref         exchange.Ref
	own         string // the key of what lies here
	where       func(task int) transport.NodeID
	tasks       int
	part, parts int
	alloc       memory.Allocator
	at          int            // the task that is read
	here        sources.Reader // its rows, if it lies here and is open
	spans       []*span        // what is open; at is in the first one
}

// span are tasks that follow one another, with a stream for each other worker that has
// outputs of them.
type span struct {
	end   int // the first task behind it
	feeds map[transport.NodeID]*feed
}

// feed is what one other worker sends.
type feed struct {
	in    transport.TasksReader // nil once it has ended
	tasks []int
	rec   arrow.RecordBatch // come already, of a task that is not read yet; or nil
}

// next returns the next rows of a task; nil if there are no more of it.
func (f *feed) next(ctx context.Context, task int) (arrow.RecordBatch, error) {
	if f.rec == nil && f.in != nil {
		rec, err := f.in.Next(ctx)
		if err == io.EOF {
			err = f.in.Close()
			f.in = nil
		}
		if err != nil {
			return nil, err
		}
		f.rec = rec
	}
	if f.rec == nil || f.tasks[f.in.Place()] != task {
		return nil, nil
	}
	rec := f.rec
	f.rec = nil
	return rec, nil
}

func (f *feed) close() error {
	if f.rec != nil {
		f.rec.Release()
		f.rec = nil
	}
	if f.in == nil {
		return nil
	}
	in := f.in
	f.in = nil
	return in.Close()
}

// Next returns the next rows.
func (r *remoteTasks) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for r.at < r.tasks {
		if err := r.openAhead(ctx); err != nil {
			return nil, err
		}
		rec, err := r.nextOf(ctx, r.at)
		if rec != nil || err != nil {
			return rec, err
		}
		if r.at++; r.at == r.spans[0].end {
			s := r.spans[0]
			r.spans = r.spans[1:]
			if err := s.close(); err != nil {
				return nil, err
			}
		}
	}
	return nil, io.EOF
}

// nextOf returns the next rows of the task that is read; nil behind its last.
func (r *remoteTasks) nextOf(ctx context.Context, task int) (arrow.RecordBatch, error) {
	if f := r.spans[0].feeds[r.where(task)]; f != nil {
		return f.next(ctx, task)
	}
	if r.here == nil {
		ref := r.ref
		ref.Task, ref.Key = task, r.own
		in, err := r.w.outputs.Reader(ref, r.part, r.parts)
		if err != nil {
			return nil, err
		}
		r.here = in
	}
	rec, err := r.here.Next(ctx)
	if err == io.EOF {
		err = r.here.Close()
		r.here = nil
	}
	return rec, err
}

// openAhead opens what is read next, and more unless memory is short.
func (r *remoteTasks) openAhead(ctx context.Context) error {
	nodes, most := aheadMax, 2
	if m := r.w.opt.Memory; m != nil && m.UnderPressure() {
		nodes, most = 1, 1
	}
	from := r.at
	if n := len(r.spans); n > 0 {
		from = r.spans[n-1].end
	}
	for from < r.tasks && len(r.spans) < most {
		s, err := r.openSpan(ctx, from, nodes)
		if s != nil {
			r.spans, from = append(r.spans, s), s.end
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// openSpan opens streams of so many other workers and takes as many tasks as lie there.
// With an error comes what was opened before.
func (r *remoteTasks) openSpan(ctx context.Context, from, nodes int) (*span, error) {
	s := &span{end: from, feeds: map[transport.NodeID]*feed{}}
	var order []transport.NodeID
	for ; s.end < r.tasks; s.end++ {
		node := r.where(s.end)
		if node == r.w.net.Local() {
			continue
		}
		f := s.feeds[node]
		if f == nil {
			if len(order) == nodes {
				break
			}
			f = &feed{}
			s.feeds[node], order = f, append(order, node)
		}
		f.tasks = append(f.tasks, s.end)
	}
	part := r.part
	if r.parts == 0 {
		part = 0
	}
	ref := transport.StreamRef{Key: r.ref.Key, Batch: r.ref.Batch, Stage: r.ref.Stage, Partition: part}
	for _, node := range order {
		f := s.feeds[node]
		in, err := r.w.net.FetchTasks(ctx, node, ref, f.tasks, r.alloc)
		if err != nil {
			return s, err
		}
		f.in = in
	}
	return s, nil
}

func (s *span) close() error {
	var errs []error
	for _, f := range s.feeds {
		errs = append(errs, f.close())
	}
	return errors.Join(errs...)
}

// Close closes what is open.
func (r *remoteTasks) Close() error {
	var errs []error
	if r.here != nil {
		errs = append(errs, r.here.Close())
	}
	for _, s := range r.spans {
		errs = append(errs, s.close())
	}
	r.here, r.spans, r.at = nil, nil, r.tasks
	return errors.Join(errs...)
}
