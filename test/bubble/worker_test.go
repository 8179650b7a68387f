//go:build synctests

package bubble

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/exchange"
	"github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/wire"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sinks/handover"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/tiered"
	"github.com/sluice-stream/sluice/worker"
)

// workerProc is the process of a worker.
type workerProc struct {
	*host
	w      *world
	node   *wire.Node
	worker *worker.Worker
	begun  chan struct{} // closed when worker is set
	mu     sync.Mutex
	plans  map[string]*connected // by key of deployment
}

var (
	_ worker.Connectors = (*workerProc)(nil)
	_ worker.Planner    = (*workerProc)(nil)
)

// startWorker starts a worker, which holds nothing.
func (w *world) startWorker(id string) (*workerProc, error) {
	p := &workerProc{host: w.newHost(id), w: w, plans: map[string]*connected{}, begun: make(chan struct{})}
	l, err := p.listen(rowsPort)
	if err != nil {
		return nil, err
	}
	var join []string
	for _, d := range w.drivers {
		join = append(join, ipOf(d)+":"+hubPort)
	}
	w.incarnation++
	p.node, err = wire.Join(context.Background(), wire.Options{ID: transport.NodeID(id), Join: join, Listener: l, Dial: p.dialTCP, Lease: w.lease, Heartbeat: w.beat, RetryMax: w.retry,
		Incarnation: w.incarnation, Resources: wire.Resources{Slots: 2}})
	if err != nil {
		return nil, err
	}
	p.worker = worker.New(p.node, p, worker.Options{Slots: 2, Alloc: w.alloc, Clock: p.clock})
	close(p.begun)
	return p, nil
}

// keep lets rows wait here for the driver.
func (p *workerProc) keep(at handover.Place) handover.Rows {
	<-p.begun
	return waiting{p.worker.Keep(exchange.Ref{Key: at.Key, Batch: at.Batch, Stage: at.Stage, Task: at.Task})}
}

// waiting are rows among the outputs of tasks.
type waiting struct{ *exchange.Writer }

func (w waiting) Append(rec arrow.RecordBatch) error { return w.Writer.Append(rec, nil) }

func (p *workerProc) end() error {
	err := errors.Join(p.node.Close(), p.worker.Close())
	p.kill() // what is still open
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.plans); n > 0 && err == nil {
		err = fmt.Errorf("worker %s ended with %d plans open", p.name, n)
	}
	return err
}

// Plan implements worker.Planner.
func (p *workerProc) Plan(ctx context.Context, d transport.Deploy) (*physical.Plan, func(), error) {
	plan := p.w.query.Plan
	text, ok := d.Plan.(transport.PlanText)
	if !ok || text.Key != plan.Key || text.Query != queryName {
		p.w.violated("worker %s is sent the plan %#v", p.name, d.Plan)
		return nil, nil, errors.New("a strange plan")
	}
	c, err := p.w.query.connect(ctx, p.host, p.w.shared, false)
	if err != nil {
		return nil, nil, batch.ExternalError(err, true)
	}
	for i, t := range p.w.query.targets {
		if name := plan.Sinks[i].Name; t.Connector == "kafka" {
			c.writers[name] = handover.Writers{Keep: p.keep, Node: p.name, Key: d.Key, Sink: name, At: i, Sinks: len(p.w.query.targets)}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plans[d.Key] = c
	return plan, func() {
		p.mu.Lock()
		delete(p.plans, d.Key)
		p.mu.Unlock()
		if err := c.close(); err != nil {
			p.w.note("worker %s: close: %v", p.name, err)
		}
	}, nil
}

func (p *workerProc) of(key string) (*connected, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.plans[key]; c != nil {
		return c, nil
	}
	return nil, batch.ExternalError(fmt.Errorf("plan %s is not deployed", key), true)
}

// Opener implements worker.Connectors.
func (p *workerProc) Opener(key, _ string) (sources.Opener, error) {
	c, err := p.of(key)
	if err != nil {
		return nil, err
	}
	if p.w.tasks != nil {
		return countedOpener{c.opener, p.w.tasks}, nil
	}
	return c.opener, nil
}

// Writers implements worker.Connectors.
func (p *workerProc) Writers(key, sink string) (sinks.WriterFactory, error) {
	c, err := p.of(key)
	if err != nil {
		return nil, err
	}
	if p.w.tasks != nil {
		return countedWriters{c.writers[sink], sink, p.w.tasks}, nil
	}
	return c.writers[sink], nil
}

// State implements worker.Connectors.
func (p *workerProc) State(d transport.Deploy, _ *memory.Tracker) (statestore.Store, error) {
	return tiered.Open(tiered.Options{FS: p.fs(p.w.shared), Dir: d.StateDir, Elsewhere: d.Elsewhere})
}
