package worker

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor"
	"github.com/sluice-stream/sluice/executor/exchange"
	"github.com/sluice-stream/sluice/internal/clock"
	limits "github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/statestore"
)

// Connectors are the worker's halves of what plans name. The methods may be
// called from several goroutines, and only between a plan's Deploy and Undeploy.
type Connectors interface {
	// Opener returns what reads splits of a source of the plan deployed under key.
	Opener(key, source string) (sources.Opener, error)
	// Writers returns what writes to a sink of that plan.
	Writers(key, sink string) (sinks.WriterFactory, error)
	// State returns the store of a query, with its checkpoints in d.StateDir. It
	// is called once for each Deploy and closed at Undeploy.
	State(d transport.Deploy) (statestore.Store, error)
}

// Planner is implemented by Connectors of workers that are sent plans as text.
type Planner interface {
	// Plan makes the plan of d.Plan, and opens what the other methods return for
	// d.Key. gone, if not nil, is called once when nothing of it is used any more.
	Plan(ctx context.Context, d transport.Deploy) (p *physical.Plan, gone func(), err error)
}

// Options configure a worker. The zero value is usable.
type Options struct {
	// Slots is how many tasks run at a time; default GOMAXPROCS. More makes
	// tasks compete for processors and memory.
	Slots int
	// QueueMax is how many tasks wait for a slot before Runs are refused;
	// default 65,536. Drivers keep far fewer under way.
	QueueMax int
	// SpillDir is where exchanges and operators put what memory has no room for.
	// Empty: nothing spills, and a task fails when memory runs out.
	SpillDir string
	// ExchangeBytesMax is how much exchange output stays in memory, see exchange.Options;
	// never more than a quarter of Memory's limit.
	ExchangeBytesMax int64
	// Memory is charged for what tasks allocate; nil for no limit.
	Memory *limits.Budget
	// Alloc is below Memory; nil for Arrow's.
	Alloc memory.Allocator
	// Clock measures operators and phases; nil measures none.
	Clock clock.Clock
	// OnTask, if not nil, is called at the end of each task, on its slot, if
	// Watched is nil or true for the task's plan.
	OnTask  func(TaskEvent)
	Watched func(key string) bool
}

// TaskEvent tells what a task did.
type TaskEvent struct {
	Key       string
	Spec      batch.TaskSpec
	Result    batch.TaskResult
	Err       error
	Operators []executor.OpStats
}

func (o Options) withDefaults() Options {
	if o.Slots <= 0 {
		o.Slots = runtime.GOMAXPROCS(0)
	}
	if o.QueueMax <= 0 {
		o.QueueMax = 1 << 16
	}
	return o
}

// Worker is a node that runs tasks.
type Worker struct {
	opt     Options
	net     transport.Transport
	conn    Connectors
	outputs *exchange.Outputs
	nanos   func() int64

	ctx    context.Context // of everything that runs; ended by Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	ready  chan struct{} // one token per queued task
	duties chan struct{} // bounds the work on state beside tasks

	mu struct {
		sync.Mutex
		plans map[string]*plan
		queue []*job
		jobs  map[batch.TaskID]*job // queued and running
		// surplus is how many slots are to end, since tasks that yielded went on.
		surplus int
	}
}

// dutiesMax bounds how many checkpoints, restores and collections run at a time.
const dutiesMax = 4

// New starts a worker that listens on net. It takes net's Inbox and Serve; the
// caller closes net after the worker.
func New(net transport.Transport, conn Connectors, opt Options) *Worker {
	opt = opt.withDefaults()
	ex := exchange.Options{Dir: opt.SpillDir, MemoryMax: opt.ExchangeBytesMax, Alloc: opt.Alloc}
	if opt.Memory != nil {
		ex.Pressure, ex.Budget = opt.Memory.UnderPressure, opt.Memory.Limit
	}
	w := &Worker{
		opt: opt, net: net, conn: conn, duties: make(chan struct{}, dutiesMax), outputs: exchange.New(ex),
		ready: make(chan struct{}, opt.QueueMax),
	}
	if opt.Clock != nil {
		start := opt.Clock.Now()
		w.nanos = func() int64 { return int64(opt.Clock.Now().Sub(start)) }
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.mu.plans, w.mu.jobs = map[string]*plan{}, map[batch.TaskID]*job{}
	net.Serve(w.serve)
	w.wg.Add(1 + opt.Slots)
	go w.listen()
	for range opt.Slots {
		go w.slot()
	}
	return w
}

// Close stops what runs, waits for it and forgets all plans, state and output.
func (w *Worker) Close() error {
	w.cancel()
	w.wg.Wait()
	w.mu.Lock()
	plans := w.mu.plans
	w.mu.plans = map[string]*plan{}
	w.mu.Unlock()
	var err error
	for _, p := range plans {
		if e := p.close(); e != nil && err == nil {
			err = e
		}
	}
	w.outputs.Close()
	return err
}

// listen takes messages one after the other. Nothing here takes long: work goes
// to slots and duties.
func (w *Worker) listen() {
	defer w.wg.Done()
	for {
		select {
		case <-w.ctx.Done():
			return
		case env, ok := <-w.net.Inbox():
			if !ok {
				return
			}
			w.handle(env)
		}
	}
}

func (w *Worker) handle(env transport.Envelope) {
	switch m := env.Message.(type) {
	case transport.Deploy:
		w.deploy(m)
	case transport.Undeploy:
		w.undeploy(m.Key)
	case transport.Run:
		w.enqueue(env.From, m)
	case transport.Cancel:
		w.cancelTask(m.Task)
	case transport.Checkpoint:
		w.duty(func() { w.send(env.From, w.checkpoint(m)) })
	case transport.Restore:
		w.duty(func() { w.send(env.From, w.restore(m)) })
	case transport.Prune:
		w.prune(m)
	case transport.Reset:
		w.reset()
	case transport.Finished, transport.Failed, transport.Checkpointed, transport.Restored, transport.Lost:
		// Answers are for drivers. One that strays here is nobody's.
	}
}

// send gives up only when the other end or this worker is gone.
func (w *Worker) send(to transport.NodeID, m transport.Message) {
	// The receiver's own recovery deals with an answer that cannot arrive.
	_ = w.net.Send(w.ctx, to, m)
}

// duty runs f beside the tasks.
func (w *Worker) duty(f func()) {
	w.wg.Add(1)
	go func() {
		defer w.wg.Done()
		select {
		case w.duties <- struct{}{}:
			defer func() { <-w.duties }()
			f()
		case <-w.ctx.Done():
		}
	}()
}

func (w *Worker) plan(key string) (*plan, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.mu.plans[key]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("plan %s is not deployed on this worker", key)
}
