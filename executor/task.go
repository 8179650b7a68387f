package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/exchange"
	"github.com/sluice-stream/sluice/executor/rowkey"
	limits "github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/statestore"
)

// Env is what a worker gives to a task besides its spec. Functions may be nil
// where no stage of the plan needs them.
type Env struct {
	Alloc memory.Allocator
	// Opener returns the worker's half of a source of the plan.
	Opener func(source string) (sources.Opener, error)
	// Fetch reads the part of an upstream stage's output that belongs to a task:
	// partition p of parts for a hash exchange, all of it where parts is 0.
	Fetch func(ctx context.Context, spec *batch.TaskSpec, in batch.Input, p, parts int) (sources.Reader, error)
	// Begin starts the next version of a shard.
	Begin func(ctx context.Context, shard batch.Shard, base batch.ID) (statestore.Txn, error)
	// Writers returns the worker's half of a sink of the plan.
	Writers func(sink string) (sinks.WriterFactory, error)
	// Parts is the number of partitions of every hash exchange of the plan; 0 means 1.
	Parts int
	// Outputs takes the rows of stages that do not end in a sink.
	Outputs *exchange.Outputs
	// Spill is a folder of the task's own; it is removed when the task ends. "" forbids spilling.
	Spill string
	// Tables are the join tables that the tasks of the plan share; nil shares none.
	Tables *Tables
	// Charge takes memory that is not Arrow's from the task's budget, or gives it
	// back if n is negative; nil counts none.
	Charge func(n int64) error
	// Budget is the limit that Charge and Alloc work under, in bytes; 0 for none.
	Budget int64
	// Pressure reports that memory is short; nil never does.
	Pressure func() bool
	// Yield says that the task waits for who reads its rows, until it calls what
	// Yield returned: another may run in its place. Nil: none does.
	Yield func() (resume func())
	// Lend is Yield for a task that waits for another one of its plan.
	Lend func() (resume func())
	// Turn is called between two record batches now and then: it may return much later,
	// when others have run in the task's place. It needs Nanos. Nil never makes room.
	Turn func() error
	// Nanos is a monotonic clock for the times of operators; nil measures none.
	Nanos func() int64
}

// turnEvery is how often Turn is called, in nanoseconds.
const turnEvery = 1e6

// Task is one stage's tree of operators. It is used by one goroutine and runs
// any number of TaskSpecs of its stage, one after the other: building a tree
// costs more than a small batch.
type Task struct {
	plan   *physical.Plan
	stage  *physical.Stage
	stages map[int]*physical.Stage
	root   Operator
	ops    []*watched
	router *router
	hasher rowkey.Hasher
	broken bool
	chains [][]int     // of operators, see chainsOf
	asides []sideliner // guards and the like

	active *watched
	nanos  func() int64
	turn   func() error // nil: no turns
	turnAt int64        // when it is called next
}

// Build makes the operators of a stage.
func Build(plan *physical.Plan, stage int) (*Task, error) {
	t := &Task{plan: plan, stages: map[int]*physical.Stage{}}
	for _, s := range plan.Stages {
		t.stages[s.ID] = s
	}
	if t.stage = t.stages[stage]; t.stage == nil {
		return nil, fmt.Errorf("plan %s has no stage %d", plan.Key, stage)
	}
	b := &builder{task: t, stages: t.stages, work: map[int][]*workTable{}}
	b.findGuarded()
	var err error
	if t.root, err = b.build(t.stage.Root, 0); err != nil {
		return nil, fmt.Errorf("stage %d of plan %s: %w", stage, plan.Key, err)
	}
	t.chains = chainsOf(t.ops)
	if t.root, err = b.guardOutput(t.root); err != nil {
		return nil, fmt.Errorf("stage %d of plan %s: %w", stage, plan.Key, err)
	}
	if to, ok := t.stage.Output.(physical.ToHash); ok {
		if t.router, err = newRouter(to, t.root.Schema()); err != nil {
			return nil, fmt.Errorf("stage %d of plan %s: %w", stage, plan.Key, err)
		}
	}
	return t, nil
}

// Schema is that of the stage's output.
func (t *Task) Schema() *arrow.Schema { return t.root.Schema() }

// Broken reports that a panic has left the tree in an unknown state: it must not
// run again, only be closed.
func (t *Task) Broken() bool { return t.broken }

// Stats tells what each operator did in the last run, in the order of the plan: parents
// first.
func (t *Task) Stats() []batch.OpCount {
	out := make([]batch.OpCount, len(t.ops))
	for i, w := range t.ops {
		if out[i] = w.stats; w.meter != nil {
			out[i] = w.meter.read(w.stats)
		}
	}
	return out
}

// Close releases what the operators keep between runs.
func (t *Task) Close() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("close stage %d of plan %s: panic: %v", t.stage.ID, t.plan.Key, r)
		}
	}()
	return t.root.Close()
}

// attempt is one run of a task.
type attempt struct {
	t    *Task
	env  *Env
	tc   *TaskContext
	res  batch.TaskResult
	txns []openShard
	out  output
	bad  *quarantine
	late *lateRows
}

type openShard struct {
	shard batch.Shard
	txn   *countedTxn
	ttl   *ttlTxn // over txn; nil if its rows stay
}

// Run runs one spec. An error leaves nothing behind: no sealed state of its own
// making is lost by that, since sealing comes last. A panic of an operator or a
// decoder becomes an error that names task and operator.
func (t *Task) Run(ctx context.Context, env Env, spec batch.TaskSpec) (batch.TaskResult, error) {
	a := &attempt{t: t, env: &env}
	t.nanos, t.active, t.turn = env.Nanos, nil, nil
	if env.Nanos != nil && env.Turn != nil {
		t.turn, t.turnAt = env.Turn, env.Nanos()+turnEvery
	}
	a.tc = &TaskContext{
		Spec: spec, Alloc: env.Alloc, Zone: t.plan.Zone, Opener: env.Opener, Fetch: a.fetch, FetchPart: a.fetchPart, State: a.state,
		Writer: a.writer, Spill: env.Spill, Tables: env.Tables, Lend: env.Lend, Charge: env.Charge, Budget: env.Budget, Pressure: env.Pressure, Result: &a.res, Seed: seedOf(spec.Task),
	}
	a.res = batch.TaskResult{Task: spec.Task, Term: spec.Term, NextDue: batch.EndOfTime}
	a.tc.opened = &openedState{dues: map[string]*dues{}}
	a.bad = newQuarantine(a)
	a.late = newLateRows(a)
	a.tc.bad, a.tc.unfit, a.tc.late = a.bad, newUnfit(ctx, a), a.late
	err := a.guard(func() error { return a.run(ctx) })
	if err != nil {
		err = errors.Join(err, a.guard(func() error { a.discard(); return nil }))
		return batch.TaskResult{}, err // the driver says which task it was
	}
	return a.res, nil
}

// guard turns a panic into an error.
func (a *attempt) guard(f func() error) (err error) {
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		a.t.broken = true
		where := "no operator"
		if w := a.t.active; w != nil {
			where = w.String()
		}
		if e, ok := r.(error); ok {
			var limit *limits.LimitError
			if errors.As(e, &limit) {
				err = fmt.Errorf("%s: %w", where, limit)
				return
			}
			err = fmt.Errorf("task %s: %s: panic: %w\n%s", a.tc.Spec.Task, where, e, debug.Stack())
			return
		}
		err = fmt.Errorf("task %s: %s: panic: %v\n%s", a.tc.Spec.Task, where, r, debug.Stack())
	}()
	return f()
}

func (a *attempt) run(ctx context.Context) error {
	if a.env.Spill != "" {
		// Operators make the folder when they need it.
		defer os.RemoveAll(a.env.Spill)
	}
	var err error
	if a.out, err = a.newOutput(ctx); err != nil {
		return err
	}
	start := a.now()
	if err := a.t.root.Open(ctx, a.tc); err != nil {
		return err
	}
	for {
		rec, err := a.t.root.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		err = a.out.write(ctx, rec)
		rec.Release()
		if err != nil {
			return err
		}
	}
	computed := a.now()
	// The sink first: its disk may be full, and then no state was sealed in vain.
	if err := a.out.finish(ctx, &a.res); err != nil {
		return err
	}
	if err := errors.Join(a.bad.finish(ctx, &a.res), a.late.finish(ctx, &a.res)); err != nil {
		return err
	}
	a.t.reconcile(&a.res.Counters)
	if err := a.t.reportObserved(&a.res); err != nil {
		return err
	}
	prepared := a.now()
	if err := a.seal(ctx); err != nil {
		return err
	}
	if a.t.plan.Stream || a.t.measured() {
		a.res.Ops = a.t.Stats()
	}
	if a.env.Nanos != nil {
		a.res.Millis = map[string]int64{"compute": (computed - start) / 1e6, "prepare": (prepared - computed) / 1e6, "seal": (a.now() - prepared) / 1e6}
	}
	return nil
}

func (a *attempt) now() int64 {
	if a.env.Nanos == nil {
		return 0
	}
	return a.env.Nanos()
}

func (a *attempt) newOutput(ctx context.Context) (output, error) {
	spec := &a.tc.Spec
	ref := exchange.Ref{Key: spec.Plan, Batch: spec.Task.Batch, Stage: spec.Task.Stage, Task: spec.Task.Partition}
	switch to := a.t.stage.Output.(type) {
	case physical.ToHash:
		a.t.router.keys.open(a.tc)
		return &toHash{router: a.t.router, tc: a.tc, parts: max(a.env.Parts, 1), w: a.env.Outputs.Writer(ref, a.t.stage.Static).Within(a.env.Pressure, a.env.Budget)}, nil
	case physical.ToSink:
		o := &toSink{tc: a.tc, sink: to.Sink, hasher: &a.t.hasher}
		if !spec.Reveal {
			return o, nil
		}
		var err error
		o.w, err = a.writer(ctx, to.Sink, a.t.root.Schema())
		return o, err
	case physical.ToClient:
		if !a.t.plan.Stream {
			return &toClient{tc: a.tc, w: a.env.Outputs.LiveWriter(ref, spec.Task.Attempt, a.env.Yield).Within(a.env.Pressure, a.env.Budget)}, nil
		}
		return &toExchange{tc: a.tc, w: a.env.Outputs.Writer(ref, a.t.stage.Static).Within(a.env.Pressure, a.env.Budget)}, nil
	case physical.ToOne, physical.ToAll:
		return &toExchange{tc: a.tc, w: a.env.Outputs.Writer(ref, a.t.stage.Static).Within(a.env.Pressure, a.env.Budget)}, nil
	}
	return nil, fmt.Errorf("stage %d has no output", a.t.stage.ID)
}

// seal makes the new state versions, after which the task has succeeded.
func (a *attempt) seal(ctx context.Context) error {
	for _, s := range a.txns {
		start := a.now()
		var txn statestore.Txn = s.txn
		if s.ttl != nil {
			txn = s.ttl
		}
		if err := a.t.turnIfDue(); err != nil {
			return err
		}
		v, err := txn.Seal(ctx)
		if err != nil {
			return fmt.Errorf("seal state %s: %w", s.shard, err)
		}
		a.res.Shards = append(a.res.Shards, batch.ShardDigest{Shard: s.shard, Digest: v.Digest})
		a.res.Counters.StateRows += v.Rows
		a.res.Counters.StateBytes += v.Bytes
		a.res.State = append(a.res.State, a.stateWork(s, v, start))
	}
	return nil
}

// stateWork is what progress tells of a state that was sealed from start on.
func (a *attempt) stateWork(s openShard, v statestore.Version, start int64) batch.StateWork {
	w := batch.StateWork{Operator: s.shard.Operator, Rows: v.Rows, Bytes: v.Bytes, Updated: s.txn.updated, Removed: s.txn.removed,
		CommitNanos: a.now() - start, UpdateNanos: a.t.selfNanos(s.shard.Operator)}
	if s.ttl != nil {
		w.RemoveNanos, w.Expired = s.ttl.nanos, s.ttl.expired
	}
	if m, ok := s.txn.Txn.(statestore.MeteredTxn); ok {
		u := m.Use()
		w.Hot, w.Cold, w.Runs = u.Hot, u.Cold, int64(u.Runs)
		w.InMemory, w.Read, w.Evictions = u.InMemory, u.Read, u.Evictions
	}
	if d := a.tc.opened.dues[s.shard.Operator]; d != nil {
		d.open.work(&w)
	}
	return w
}

func (a *attempt) discard() {
	for _, s := range a.txns {
		s.txn.Discard()
	}
	if a.out != nil {
		a.out.discard()
	}
	a.bad.discard()
	a.late.discard()
}

func (a *attempt) fetch(ctx context.Context, in batch.Input) (sources.Reader, error) {
	s := a.t.stages[in.Stage]
	if s == nil {
		return nil, fmt.Errorf("plan %s has no stage %d", a.t.plan.Key, in.Stage)
	}
	parts := 0
	if _, hash := s.Output.(physical.ToHash); hash {
		parts = max(a.env.Parts, 1)
	}
	return a.env.Fetch(ctx, &a.tc.Spec, in, a.tc.Spec.Task.Partition, parts)
}

// fetchPart cuts the partition of the task further: GroupsOf cuts the key groups
// evenly, so that the parts of a partition are partitions of a finer cut.
func (a *attempt) fetchPart(ctx context.Context, in batch.Input, sub, subs int) (sources.Reader, error) {
	parts := max(a.env.Parts, 1)
	return a.env.Fetch(ctx, &a.tc.Spec, in, a.tc.Spec.Task.Partition*subs+sub, parts*subs)
}

// state opens the shard of an operator, once per run.
func (a *attempt) state(ctx context.Context, operator string) (statestore.Txn, error) {
	spec := &a.tc.Spec
	first, end := batch.GroupsOf(spec.Task.Partition, max(spec.Parts, 1))
	shard := batch.Shard{Operator: operator, Partition: spec.Task.Partition, FirstGroup: first, EndGroup: end}
	for _, s := range a.txns {
		if s.shard == shard {
			return nil, fmt.Errorf("operator %q is in its stage twice", operator)
		}
	}
	txn, err := a.env.Begin(ctx, shard, spec.Base)
	if err != nil {
		return nil, fmt.Errorf("start version %d of state %s: %w", spec.Base+1, shard, err)
	}
	if a.tc.opened != nil {
		a.tc.opened.operator = operator
	}
	counted := &countedTxn{Txn: txn, task: a.t}
	a.txns = append(a.txns, openShard{shard: shard, txn: counted})
	if ttl, ok := a.t.stage.TTL[operator]; ok {
		return a.expiring(ctx, len(a.txns)-1, operator, ttl)
	}
	return counted, nil
}

func (a *attempt) writer(ctx context.Context, sink string, schema *arrow.Schema) (sinks.Writer, error) {
	f, err := a.env.Writers(sink)
	if err != nil {
		return nil, fmt.Errorf("open sink %q: %w", sink, err)
	}
	spec := &a.tc.Spec
	w, err := f.NewWriter(ctx, sinks.Attempt{Task: spec.Task, Term: spec.Term, Now: spec.Now}, schema, a.env.Alloc)
	if err != nil {
		return nil, fmt.Errorf("open sink %q: %w", sink, err)
	}
	return w, nil
}

// seedOf seeds functions such as rand(). The attempt has no part in it.
func seedOf(t batch.TaskID) uint64 {
	b := append([]byte(t.Query), 0)
	b = strconv.AppendInt(b, int64(t.Batch), 10)
	b = strconv.AppendInt(append(b, '/'), int64(t.Stage), 10)
	b = strconv.AppendInt(append(b, '/'), int64(t.Partition), 10)
	return xxh3.Hash(b)
}
