package worker

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
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
	// is called once for each Deploy and closed at Undeploy. of is what the query may
	// take of the worker's memory; nil if nobody counts.
	State(d transport.Deploy, of *limits.Tracker) (statestore.Store, error)
}

// Planner is implemented by Connectors of workers that are sent plans as text.
type Planner interface {
	// Plan makes the plan of d.Plan, and opens what the other methods return for
	// d.Key. gone, if not nil, is called once when nothing of it is used any more.
	Plan(ctx context.Context, d transport.Deploy) (p *physical.Plan, gone func(), err error)
}

// Heir is implemented by Connectors that remember whose state they have opened.
type Heir interface {
	// Inherit is asked before the state that a plan has left becomes that of another one of
	// its query, which is planned, or before the plan itself, which is not planned again,
	// is that of another driver. If it says no the state is closed.
	Inherit(from string, to transport.Deploy) bool
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
	// KeepFor is how long the state of a plan that has ended for another one is kept, as
	// long as nobody needs its memory; default 30 s, below 0 not at all.
	KeepFor time.Duration
	// Alloc is below Memory; nil for Arrow's.
	Alloc memory.Allocator
	// Clock measures operators and phases, and what queries take of the slots. Nil
	// measures none: slots go round by tasks, each of which keeps its own to its end.
	Clock clock.Clock
}

func (o Options) withDefaults() Options {
	if o.Slots <= 0 {
		o.Slots = runtime.GOMAXPROCS(0)
	}
	if o.QueueMax <= 0 {
		o.QueueMax = 1 << 16
	}
	if o.KeepFor == 0 {
		o.KeepFor = keepFor
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
	duties chan struct{} // bounds the work on state beside tasks

	slots  *slots
	idle   chan *job    // hands a task to a goroutine that has none
	idling atomic.Int32 // goroutines that have none

	mu struct {
		sync.Mutex
		plans map[string]*plan // by each of their keys
		// orphans are plans that no driver counts on; their keys are among those of plans.
		orphans map[batch.QueryID]*plan
		kept    map[batch.QueryID]*kept
		// closing: what runs is waited for, and nothing more is begun in the background.
		closing bool
		jobs    map[batch.TaskID]*job // queued and running
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
		idle: make(chan *job),
	}
	if opt.Clock != nil {
		start := opt.Clock.Now()
		w.nanos = func() int64 { return int64(opt.Clock.Now().Sub(start)) }
	}
	w.slots = newSlots(opt.Slots, w.nanos, w.begin)
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.mu.plans, w.mu.jobs, w.mu.kept = map[string]*plan{}, map[batch.TaskID]*job{}, map[batch.QueryID]*kept{}
	w.mu.orphans = map[batch.QueryID]*plan{}
	net.Serve(w.serve)
	w.wg.Add(1)
	go w.listen()
	return w
}

// Close stops what runs, waits for it and forgets all plans, state and output.
func (w *Worker) Close() error {
	w.mu.Lock()
	w.mu.closing = true
	w.mu.Unlock()
	w.cancel()
	w.wg.Wait()
	w.mu.Lock()
	plans := w.mu.plans
	w.mu.plans = map[string]*plan{}
	w.mu.Unlock()
	var err error
	for key, p := range plans {
		if key != p.past.key() {
			continue // it is there under another one
		}
		p.past.disarmLocked()
		if e := p.close(); e != nil && err == nil {
			err = e
		}
	}
	w.closeKept()
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
		w.deploy(env.From, m)
	case transport.Undeploy:
		w.undeploy(m.Key, m.Keep)
	case transport.Survey:
		w.duty(func() { w.send(env.From, w.survey(m)) })
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
	case transport.Follow:
		w.followFrom(m)
	case transport.Reset:
		w.reset()
	case transport.Deployed, transport.Finished, transport.Failed, transport.Checkpointed, transport.Restored, transport.Surveyed, transport.Needless, transport.Followed, transport.Lost:
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
	// Its session has ended meanwhile, and with it all that was deployed: who counts on it
	// begins anew, as with a worker that is gone.
	return nil, batch.ExternalError(fmt.Errorf("plan %s is not deployed on this worker: %w", key, transport.ErrGone), true)
}
