package driver

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/planner/physical"
)

// execution is one run of all stages of a plan as tasks. Its methods may be
// called from several goroutines.
type execution struct {
	d    *deployment
	spec batch.TaskSpec // what all tasks share
	// first numbers this run's attempts apart from those of earlier runs of the
	// same batch (D2).
	first  int
	reveal func(sink string) bool
	window int // tasks of the client's stage ahead of its reader; 0: no client

	ended chan struct{} // closed when no task is under way any more
	moved chan struct{} // holds a value when a task of the client's stage is done

	mu struct {
		sync.Mutex
		stages   []stageRun
		collect  *microbatch.Collector
		ready    []taskRef // may be sent
		underWay map[taskRef]attempt
		second   map[taskRef]attempt // of tasks under way that were begun twice
		load     map[transport.NodeID]int
		tries    map[taskRef]int // beyond the first
		failures map[taskRef][]failure
		read     int // tasks of the client's stage that were consumed
		follow   following
		err      error // the run is given up
		over     bool
		grace    func() bool // stops the timer that ends a cancelled run
		watch    func() bool // stops the timer that looks for overdue tasks
		hunt     func() bool // stops the timer that looks for stragglers
		perSrc   map[string]int64
		late     []batch.LateWork
		spread   batch.TimeSpread
		arrived  batch.Arrivals
		observed []batch.Observed
		results  []batch.TaskResult // adopted ones with prepared output
	}
}

type taskRef struct{ stage, partition int }

type attempt struct {
	number  int
	node    transport.NodeID
	since   time.Time
	overdue bool // cancelled because it took too long
}

// stageRun is where a stage stands.
type stageRun struct {
	plan   *physical.Stage
	tasks  int
	left   int
	begun  bool
	splits [][]batch.Split    // of each task
	rows   int64              // written to the exchange
	nodes  []transport.NodeID // where each task's output lies
	away   bool               // some of it not at home
	// hold, if holds is set, is the event time that its tasks hold for the stages above.
	hold     batch.EventTime
	holds    bool
	input    batch.Input // for the stages that read it
	counters batch.Counters
	done     []bool // of the client's stage
	trace    StageTrace
	ops      []batch.OpCount // of its tasks together
	state    []batch.StateWork
	twice    bool            // its tasks may be begun a second time
	took     []time.Duration // by its tasks; only if twice
}

// work is what is run: the splits of each Splits stage, and the stages whose
// output of an earlier batch is used again.
type work struct {
	splits map[int][]batch.Split
	reuse  map[int]kept
	inputs map[int]string // versions of static stages
}

// kept is the output of a static stage.
type kept struct {
	input batch.Input
	nodes []transport.NodeID
}

func newExecution(d *deployment, spec batch.TaskSpec, w work, first int, reveal func(string) bool) (*execution, error) {
	spec.Reads = readsOf(d.plan, w)
	x := &execution{d: d, spec: spec, first: first, reveal: reveal, ended: make(chan struct{}), moved: make(chan struct{}, 1)}
	m := &x.mu
	m.second, m.failures = map[taskRef]attempt{}, map[taskRef][]failure{}
	m.underWay, m.load, m.tries, m.perSrc = map[taskRef]attempt{}, map[transport.NodeID]int{}, map[taskRef]int{}, map[string]int64{}
	m.stages = make([]stageRun, len(d.plan.Stages))
	var ids []batch.TaskID
	for i, s := range d.plan.Stages {
		r := &m.stages[i]
		r.plan = s
		if k, ok := w.reuse[i]; ok {
			r.begun, r.input, r.nodes, r.away = true, k.input, k.nodes, true
			r.rows = 1 // whatever it is, it is not known to be nothing
			continue
		}
		switch s.Kind {
		case physical.Splits:
			r.splits = groupSplits(w.splits[i], s.Output)
			r.tasks = len(r.splits)
			if r.tasks == 0 && alone(s.Root) {
				r.tasks = 1
			}
		case physical.Hash:
			r.tasks = d.parts
		case physical.Single:
			r.tasks = 1
		}
		r.left = r.tasks
		r.nodes = make([]transport.NodeID, r.tasks)
		r.input = batch.Input{Stage: i, Tasks: r.tasks, Batch: spec.Task.Batch, Version: w.inputs[i]}
		for p := range r.tasks {
			ids = append(ids, batch.TaskID{Query: d.query, Batch: spec.Task.Batch, Stage: i, Partition: p})
		}
		if _, ok := s.Output.(physical.ToClient); ok {
			r.done = make([]bool, r.tasks)
		}
		r.twice = d.twice(s, r.tasks)
	}
	c, err := microbatch.NewCollector(spec.Task.Batch, spec.Term, ids)
	m.collect = c
	return x, err
}

// alone reports whether a Splits stage makes rows without any split.
func alone(n physical.Node) bool {
	if _, ok := n.(*physical.Values); ok {
		return true
	}
	return slices.ContainsFunc(n.Inputs(), alone)
}

// run runs the stages and returns when no task is under way any more (D3).
func (x *execution) run(ctx context.Context) (microbatch.Result, error) {
	x.begin(ctx)
	select {
	case <-x.ended:
	case <-ctx.Done():
		x.giveUp(context.Cause(ctx))
		<-x.ended
	}
	return x.outcome()
}

// begin makes x the run that answers go to, and starts what needs no other stage.
func (x *execution) begin(ctx context.Context) {
	x.d.mu.Lock()
	x.d.mu.run = x
	x.d.mu.Unlock()
	x.mu.Lock()
	x.advanceLocked()
	sends := x.takeLocked()
	x.mu.Unlock()
	x.send(ctx, sends)
}

// outcome ends the run's claim on answers.
func (x *execution) outcome() (microbatch.Result, error) {
	x.d.mu.Lock()
	if x.d.mu.run == x {
		x.d.mu.run = nil
	}
	x.d.mu.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.mu.err != nil {
		return microbatch.Result{}, x.mu.err
	}
	res, ok := x.mu.collect.Result()
	if !ok {
		return res, fmt.Errorf("run batch %d: it ended with %d tasks missing", x.spec.Task.Batch, x.mu.collect.Left())
	}
	return res, nil
}

// advanceLocked begins every stage whose inputs are done.
func (x *execution) advanceLocked() {
	for i := range x.mu.stages {
		r := &x.mu.stages[i]
		if r.begun || !x.inputsDoneLocked(r.plan) {
			continue
		}
		r.begun = true
		if r.tasks > 0 && x.nothingLocked(r.plan) {
			x.skipLocked(r)
			continue
		}
		for p := range r.tasks {
			x.mu.ready = append(x.mu.ready, taskRef{i, p})
		}
	}
	if x.mu.collect.Left() == 0 || (x.mu.err != nil && len(x.mu.underWay) == 0) {
		x.endLocked()
	}
}

func (x *execution) endLocked() {
	if x.mu.over {
		return
	}
	x.mu.over = true
	for _, stop := range []func() bool{x.mu.grace, x.mu.watch, x.mu.hunt} {
		if stop != nil {
			stop()
		}
	}
	close(x.ended)
}

// heldLocked is the event time at which the stages below one hold what it closes.
// They are done, and what they hold depends on their state alone.
func (x *execution) heldLocked(s *physical.Stage) (hold batch.EventTime, ok bool) {
	take := func(t batch.EventTime) {
		if !ok || t < hold {
			hold, ok = t, true
		}
	}
	for _, in := range s.Inputs {
		up := &x.mu.stages[in]
		if up.holds {
			take(up.hold)
		}
		if t, held := x.heldLocked(up.plan); held {
			take(t)
		}
	}
	return hold, ok
}

func (x *execution) inputsDoneLocked(s *physical.Stage) bool {
	for _, in := range s.Inputs {
		if up := &x.mu.stages[in]; !up.begun || up.left > 0 {
			return false
		}
	}
	return true
}

// nothingLocked reports whether a stage provably has nothing to do: it reads
// other stages alone, they wrote no row, it keeps no state, and no operator of
// it makes a row out of none. A sink in complete mode is written all the same:
// no rows are a result there.
func (x *execution) nothingLocked(s *physical.Stage) bool {
	if s.Kind == physical.Splits || len(s.Inputs) == 0 || len(s.Stateful) > 0 || !followsInput(s.Root) {
		return false
	}
	if out, ok := s.Output.(physical.ToSink); ok {
		for _, k := range x.d.plan.Sinks {
			if k.Name == out.Sink && k.Mode == "complete" {
				return false
			}
		}
	}
	for _, in := range s.Inputs {
		if x.mu.stages[in].rows > 0 {
			return false
		}
	}
	return true
}

// followsInput reports whether an operator tree without input rows gives none.
func followsInput(n physical.Node) bool {
	switch n := n.(type) {
	case *physical.ExchangeRead, *physical.Filter, *physical.Project, *physical.Window, *physical.HashJoin,
		*physical.Union, *physical.Sort, *physical.TopN, *physical.Limit,
		*physical.LimitBy, *physical.Generate, *physical.Fold:
	case *physical.PartialAggregate:
		if len(n.Keys) == 0 {
			return false
		}
	case *physical.FinalAggregate:
		if n.NKeys == 0 {
			return false
		}
	default:
		return false
	}
	for _, in := range n.Inputs() {
		if !followsInput(in) {
			return false
		}
	}
	return true
}

// skipLocked counts a stage's tasks as done without running them.
func (x *execution) skipLocked(r *stageRun) {
	for p := range r.tasks {
		id := x.taskID(taskRef{r.plan.ID, p}, 0)
		x.mu.collect.Add(batch.TaskResult{Task: id, Term: x.spec.Term, NextDue: batch.EndOfTime})
	}
	r.left, r.input.Tasks, r.nodes = 0, 0, nil
}

func (x *execution) taskID(t taskRef, number int) batch.TaskID {
	return batch.TaskID{Query: x.d.query, Batch: x.spec.Task.Batch, Stage: t.stage, Partition: t.partition, Attempt: x.first + number}
}

// order is a task that is to be sent.
type order struct {
	ref  taskRef
	node transport.NodeID
	msg  transport.Run
}

// takeLocked takes the tasks that may be sent now off the queue.
func (x *execution) takeLocked() []order {
	if x.mu.err != nil {
		x.mu.ready = nil
		return nil
	}
	var out []order
	waiting := x.mu.ready[:0]
	for _, t := range x.mu.ready {
		node := x.nodeLocked(t)
		if x.mu.load[node] >= x.d.opt.TasksPerWorker || x.fullLocked() || x.aheadLocked(t) {
			waiting = append(waiting, t)
			continue
		}
		number := x.mu.tries[t]
		x.mu.underWay[t] = attempt{number: number, node: node, since: x.d.clock.Now()}
		x.mu.load[node]++
		if x.mu.stages[t.stage].done != nil {
			x.movedLocked()
		}
		out = append(out, order{ref: t, node: node, msg: x.messageLocked(t, number)})
	}
	x.mu.ready = waiting
	out = append(out, x.speculateLocked()...)
	x.watchLocked()
	return out
}

// fullLocked reports whether as many tasks are under way as the query may have at a time.
func (x *execution) fullLocked() bool {
	most := x.d.opt.SlotsMax
	return most > 0 && len(x.mu.underWay)+len(x.mu.second) >= most
}

// aheadLocked reports whether a task of the client's stage would run too far
// ahead of who reads it.
func (x *execution) aheadLocked(t taskRef) bool {
	return x.window > 0 && x.mu.stages[t.stage].done != nil && t.partition >= x.mu.read+x.window
}

// nodeLocked is where the next attempt of a task runs: state stays where it is,
// anything else is tried on another worker.
func (x *execution) nodeLocked(t taskRef) transport.NodeID {
	if len(x.d.workers) == 1 || len(x.mu.stages[t.stage].plan.Stateful) > 0 {
		return x.d.worker(t.partition)
	}
	at := x.d.homes.Place(t.partition) + x.mu.tries[t]
	return x.d.workers[at%len(x.d.workers)]
}

func (x *execution) messageLocked(t taskRef, number int) transport.Run {
	r := &x.mu.stages[t.stage]
	spec := x.spec
	spec.Task = x.taskID(t, number)
	spec.Parts = max(r.tasks, 1)
	if hold, ok := x.heldLocked(r.plan); ok && spec.Close != batch.EndOfTime {
		spec.Close = min(spec.Close, hold-1)
	}
	if t.partition < len(r.splits) {
		spec.Splits = r.splits[t.partition]
	}
	if out, ok := r.plan.Output.(physical.ToSink); ok {
		spec.Reveal = x.reveal(out.Sink)
		spec.SinkPrefix = fmt.Sprintf("%d-%d-%d-%d", spec.Term, spec.Task.Batch, spec.Task.Partition, spec.Task.Attempt)
	}
	for _, q := range x.d.plan.Quarantines {
		if x.reveal(q.Sink) && !slices.Contains(spec.Quarantine, q.Sink) {
			spec.Quarantine = append(spec.Quarantine, q.Sink)
		}
	}
	if l := x.d.plan.Late; l != nil && x.reveal(l.Sink) {
		spec.Quarantine = append(spec.Quarantine, l.Sink)
	}
	msg := transport.Run{}
	for _, in := range r.plan.Inputs {
		up := &x.mu.stages[in]
		spec.Inputs = append(spec.Inputs, up.input)
		if len(x.d.workers) > 1 {
			var nodes []transport.NodeID
			if up.away {
				nodes = slices.Clone(up.nodes)
			}
			msg.Where = append(msg.Where, nodes)
		}
	}
	msg.Spec = spec
	return msg
}

// send hands tasks to workers; one that cannot be reached fails its task.
func (x *execution) send(ctx context.Context, orders []order) {
	for _, o := range orders {
		err := error(nil)
		if x.d.isLost(o.node) {
			err = gone(o.node, "it was lost before")
		} else {
			err = x.d.tr.Send(ctx, o.node, o.msg)
		}
		if err != nil {
			x.failed(ctx, transport.Failed{Task: o.msg.Spec.Task, Term: x.spec.Term, Err: fmt.Errorf("send task to worker %s: %w", o.node, err)})
		}
	}
}

// answeredLocked takes an attempt off the list of those under way; false if the
// answer is of another one. A second attempt takes the place of the first.
func (x *execution) answeredLocked(id batch.TaskID, term batch.Term) (taskRef, attempt, bool) {
	t := taskRef{id.Stage, id.Partition}
	if id.Query != x.d.query || id.Batch != x.spec.Task.Batch || term != x.spec.Term {
		return t, attempt{}, false
	}
	a, ok := x.mu.underWay[t]
	b, two := x.mu.second[t]
	switch {
	case ok && id.Attempt == x.first+a.number:
		delete(x.mu.underWay, t)
		if two {
			x.mu.underWay[t] = b
		}
	case two && id.Attempt == x.first+b.number:
		a = b
	default:
		return t, a, false
	}
	delete(x.mu.second, t)
	x.mu.load[a.node]--
	return t, a, true
}

// finished takes in a result and reports whether its output is adopted.
func (x *execution) finished(ctx context.Context, res batch.TaskResult) bool {
	x.mu.Lock()
	t, a, ok := x.answeredLocked(res.Task, res.Term)
	if !ok {
		x.mu.Unlock()
		return false
	}
	counted := res
	counted.Counters = x.countersOf(t, res.Counters)
	adopted := x.mu.err == nil && x.mu.collect.Add(counted)
	var loser []order
	if adopted {
		x.countLocked(t, a, res)
		loser = x.loserLocked(t)
	}
	x.advanceLocked()
	sends := x.takeLocked()
	x.mu.Unlock()
	x.cancel(loser)
	x.send(ctx, sends)
	x.d.listen.task(res, a.node, x.d.clock.Now().Sub(a.since))
	return adopted
}

// countersOf is what a task adds to its batch: rows in are those of streams, since
// a static table is read once for many batches, and rows out are those that sinks get.
func (x *execution) countersOf(t taskRef, c batch.Counters) batch.Counters {
	stage := x.mu.stages[t.stage].plan
	if stage.Static {
		c.RowsIn, c.BytesIn, c.Filtered, c.Used, c.LateEarly, c.BadEarly = 0, 0, 0, 0, 0, 0
	}
	if _, ok := stage.Output.(physical.ToSink); !ok {
		c.RowsOut = 0
	}
	return c
}

func (x *execution) countLocked(t taskRef, a attempt, res batch.TaskResult) {
	r := &x.mu.stages[t.stage]
	r.left--
	r.nodes[t.partition] = a.node
	r.away = r.away || a.node != x.d.worker(t.partition)
	for _, n := range res.OutRows {
		r.rows += n
	}
	r.counters = r.counters.Add(res.Counters)
	if !res.Adopted { // who knows when it began
		r.noteTook(x.d.clock.Now().Sub(a.since))
	}
	r.trace.note(&res, x.d.clock.Now().Sub(a.since))
	r.ops = batch.AddOps(r.ops, res.Ops)
	r.state = batch.AddState(r.state, res.State)
	x.mu.late = batch.AddLate(x.mu.late, res.LateBy...)
	if !r.plan.Static {
		x.mu.spread.Add(res.Spread)
		x.mu.arrived.Merge(res.Arrived)
	}
	if res.Holds && (!r.holds || res.Hold < r.hold) {
		r.hold, r.holds = res.Hold, true
	}
	for _, o := range res.Observed {
		o.Stage, o.Partition = t.stage, t.partition
		x.mu.observed = append(x.mu.observed, o)
	}
	if len(res.Prepared) > 0 {
		x.mu.results = append(x.mu.results, res)
	}
	if t.partition < len(r.splits) {
		x.mu.perSrc[r.splits[t.partition][0].Source] += res.Counters.RowsIn
	}
	if r.done != nil {
		r.done[t.partition] = true
		x.movedLocked()
	}
}

// failed tries a task again if that may help, else gives up the run.
func (x *execution) failed(ctx context.Context, f transport.Failed) {
	x.mu.Lock()
	t, a, ok := x.answeredLocked(f.Task, f.Term)
	if !ok {
		x.mu.Unlock()
		return
	}
	if a.overdue {
		f.Err = batch.ExternalError(fmt.Errorf("it took longer than %s on worker %s: %w", x.d.opt.TaskTimeout, a.node, f.Err), true)
	}
	_, retry := batch.KindOf(f.Err)
	cancelled := x.mu.err != nil
	_, again := x.mu.underWay[t] // its other attempt goes on
	if again = again && retry && !cancelled; !again {
		again = retry && !cancelled && !x.givenLocked(t) && x.mu.tries[t]+1 < x.d.opt.TaskAttemptsMax && ctx.Err() == nil
		if again {
			x.mu.tries[t]++
			x.mu.ready = append(x.mu.ready, t)
		}
	}
	x.mu.failures[t] = append(x.mu.failures[t], failure{a.node, f.Err})
	var blamed error
	if !again {
		blamed = x.blamedLocked(t)
	}
	sends := x.takeLocked()
	x.mu.Unlock()
	if !cancelled {
		x.d.listen.send(TaskFailed{Task: f.Task, Worker: a.node, Err: f.Err, Again: again})
	}
	if !again {
		x.giveUp(blamed)
	}
	x.unfollow(t)
	x.send(ctx, sends)
}

// giveUp cancels what is under way, once. The first reason counts.
func (x *execution) giveUp(err error) {
	x.mu.Lock()
	if x.mu.err != nil || x.mu.over {
		if len(x.mu.underWay) == 0 {
			x.endLocked()
		}
		x.mu.Unlock()
		return
	}
	x.mu.err, x.mu.ready = err, nil
	x.unfollowLocked()
	cancels := make([]order, 0, len(x.mu.underWay))
	for _, all := range []map[taskRef]attempt{x.mu.underWay, x.mu.second} {
		for t, a := range all {
			cancels = append(cancels, x.cancelOf(t, a))
		}
	}
	if len(cancels) == 0 {
		x.endLocked()
	} else {
		x.mu.grace = x.d.clock.AfterFunc(x.d.opt.CancelWait, x.forget)
	}
	x.mu.Unlock()
	x.cancel(cancels)
}

// cancelOf is the order to cancel an attempt.
func (x *execution) cancelOf(t taskRef, a attempt) order {
	return order{node: a.node, ref: t, msg: transport.Run{Spec: batch.TaskSpec{Task: x.taskID(t, a.number)}}}
}

// cancel tells workers to end attempts. One that is gone runs nothing, and does not answer.
func (x *execution) cancel(which []order) {
	if len(which) == 0 {
		return
	}
	slices.SortFunc(which, func(a, b order) int {
		return cmp.Or(cmp.Compare(a.ref.stage, b.ref.stage), cmp.Compare(a.ref.partition, b.ref.partition))
	})
	ctx, end := x.d.bounded()
	defer end()
	for _, o := range which {
		_ = x.d.tr.Send(ctx, o.node, transport.Cancel{Task: o.msg.Spec.Task})
	}
}

// runningOn lists the tasks that a worker has been sent and has not answered.
func (x *execution) runningOn(w transport.NodeID) []batch.TaskID {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out []batch.TaskID
	for _, all := range []map[taskRef]attempt{x.mu.underWay, x.mu.second} {
		for t, a := range all {
			if a.node == w {
				out = append(out, x.taskID(t, a.number))
			}
		}
	}
	slices.SortFunc(out, func(a, b batch.TaskID) int {
		return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Partition, b.Partition))
	})
	return out
}

// abandonOn waits no longer for the tasks of a worker that is lost: they never answer,
// or nobody listens.
func (x *execution) abandonOn(w transport.NodeID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for t, a := range x.mu.second {
		if a.node == w {
			delete(x.mu.second, t)
			x.mu.load[w]--
		}
	}
	for t, a := range x.mu.underWay {
		if a.node == w {
			delete(x.mu.underWay, t)
			x.mu.load[w]--
			if b, ok := x.mu.second[t]; ok {
				x.mu.underWay[t] = b
				delete(x.mu.second, t)
			}
		}
	}
	if x.mu.err != nil && len(x.mu.underWay) == 0 {
		x.endLocked()
	}
}

// forget ends a run whose cancelled tasks do not answer.
func (x *execution) forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	clear(x.mu.underWay)
	clear(x.mu.second)
	x.endLocked()
}
