package sluice

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/wire"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sinks/handover"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/worker"
)

// WorkerOptions say what a worker of a cluster is.
type WorkerOptions struct {
	// ID names the worker in its cluster.
	ID string
	// Join are the addresses of the drivers, tried one after the other.
	Join []string
	// Listen is where other workers read rows, HOST:PORT; default a free port of the
	// loopback interface. Advertise is how they reach it, if that is another address.
	Listen, Advertise string
	// TLSDir is a folder with ca.crt, tls.crt and tls.key, by which the nodes of the cluster
	// know each other; "" is plain text, on loopback alone.
	TLSDir string
	// AuditLog is the file to which is appended which connections were refused.
	AuditLog string
	// Build is the version of the program, which the driver shows; default Version.
	Build string
	// Slots is how many tasks run at a time; default the number of processors.
	Slots int
	// Settings are applied as by SET; those that concern a process count, as memory_limit
	// and spill.dir. The queries' own come with them.
	Settings map[string]string
	// Logger takes structured logs; default slog.Default().
	Logger *slog.Logger
}

// Worker is a process that runs tasks of a cluster's queries.
type Worker struct {
	node   *wire.Node
	worker *worker.Worker
	plans  *plans
	s      *Session // for the process's memory and folders; it runs nothing
}

// JoinCluster starts a worker, which looks for a driver until it is closed.
func JoinCluster(ctx context.Context, opts WorkerOptions) (*Worker, error) {
	s, err := NewSession(Options{Settings: opts.Settings, Logger: opts.Logger, Stdout: io.Discard})
	if err != nil {
		return nil, err
	}
	slots := cmp.Or(opts.Slots, runtime.GOMAXPROCS(0))
	net := wire.Options{
		ID: transport.NodeID(opts.ID), Join: opts.Join, Listen: cmp.Or(opts.Listen, "127.0.0.1:0"), Advertise: opts.Advertise, Logger: s.opts.Logger,
		Resources: wire.Resources{Slots: slots, Memory: s.memoryLimit(), Version: cmp.Or(opts.Build, Version)}, Compression: wire.Compression(s.set.snapshot().Get(setPacking)),
	}
	var node *wire.Node
	if err = secure(&net, opts.TLSDir, opts.AuditLog, s.opts.Logger); err == nil {
		node, err = wire.Join(ctx, net)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	w := &Worker{node: node, s: s, plans: newPlans(s, node)}
	w.worker = worker.New(node, w.plans, worker.Options{SpillDir: s.spill, Memory: s.memory, Alloc: buffers, Clock: clock.System(), Slots: slots})
	w.plans.keep, s.otherRoutes = keeps(w.worker), w.routes
	close(w.plans.begun)
	return w, nil
}

// Driver names the driver that the worker has joined and says where it is; "" while
// there is none. err is why no driver takes it, for good.
func (w *Worker) Driver() (id, address string, err error) {
	l := w.node.Link()
	if l.Session == 0 {
		return "", "", l.Refused
	}
	return string(l.Driver), l.Addr, l.Refused
}

// Changed is closed when what Driver tells changes.
func (w *Worker) Changed() <-chan struct{} { return w.node.Changed() }

// drainLook is how often a draining worker looks whether it may leave.
const drainLook = 20 * time.Millisecond

// Drain tells the driver that the worker wants to leave, and returns when it has nothing
// to do any more: its queries go on without it from their next batch on. A worker that
// no driver knows has nothing to wait for.
func (w *Worker) Drain(ctx context.Context) error {
	w.node.Drain(true)
	for w.worker.Plans() > 0 && w.node.Link().Session != 0 {
		if err := clock.Wait(ctx, clock.System(), drainLook); err != nil {
			return fmt.Errorf("wait until worker %s has nothing to do: %w", w.node.Local(), context.Cause(ctx))
		}
	}
	return nil
}

// Close ends the worker at once. What it was doing is done by others.
func (w *Worker) Close() error {
	// The driver learns of it first, so that nobody is asked for what is not there any more.
	return errors.Join(w.node.Close(), w.worker.Close(), w.plans.places.close(), w.s.Close())
}

// plans are a worker's halves of the queries that it is sent as texts.
type plans struct {
	s      *Session
	net    transport.Transport
	places *places
	keep   handover.Keep
	begun  chan struct{} // closed when keep is set
	mu     struct {
		sync.Mutex
		byKey   map[string]*opened
		lodgers map[string]*lodger // states in buckets, by key
	}
}

// opened is a planned text with what its tasks read and write through.
type opened struct {
	s       *Session // that planned it
	openers map[string]sources.Opener
	writers map[string]sinks.WriterFactory
	sinks   []sinks.Sink
	kept    []func() // end what openers keep for the splits to come
}

var (
	_ worker.Connectors = (*plans)(nil)
	_ worker.Planner    = (*plans)(nil)
	_ worker.Heir       = (*plans)(nil)
)

func newPlans(s *Session, net transport.Transport) *plans {
	p := &plans{s: s, net: net, places: &places{}, begun: make(chan struct{})}
	p.mu.byKey, p.mu.lodgers = map[string]*opened{}, map[string]*lodger{}
	return p
}

// Plan implements worker.Planner.
func (p *plans) Plan(ctx context.Context, d transport.Deploy) (_ *physical.Plan, gone func(), err error) {
	text, ok := d.Plan.(transport.PlanText)
	if !ok {
		return nil, nil, fmt.Errorf("deploy %s: a plan in the form %T is unknown here", d.Key, d.Plan)
	}
	<-p.begun // it takes no longer than the worker's beginning
	s, found, err := planText(ctx, Options{Logger: p.s.opts.Logger, Stdout: io.Discard, Settings: p.s.opts.Settings, places: p.places}, text)
	if err != nil {
		return nil, nil, fmt.Errorf("plan query %s on worker: %w", text.Query, err)
	}
	o := &opened{s: s, openers: map[string]sources.Opener{}, writers: map[string]sinks.WriterFactory{}}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open query %s on worker: %w", text.Query, err), o.close())
		}
	}()
	for _, src := range found.plan.Plan.Sources {
		t := found.plan.Tables[src.Name]
		spec := s.sourceSpec(src.Name, t, src.Stream)
		if src.Stream {
			spec.Dir = filepath.Join(s.dir(found.def), "sources", src.Name)
		}
		c, err := s.reg.sources.Lookup(t.Connector)
		if err != nil {
			return nil, nil, err
		}
		spec.Options = spec.Options.Known(c.Options)
		if o.openers[src.Name], err = c.NewOpener(spec); err != nil {
			return nil, nil, fmt.Errorf("source %s: %w", t.Name, err)
		}
		if k, ok := o.openers[src.Name].(sources.Keeper); ok {
			o.kept = append(o.kept, k.Keep())
		}
	}
	for _, src := range found.plan.Plan.Lookups {
		schema := found.plan.Tables[src.Name].Schema
		o.openers[src.Name] = &transport.Lookups{Net: p.net, Driver: driverNode(d.Query), Key: d.Key, Source: src.Name, Schema: schema}
	}
	for i, t := range found.targets {
		if staged(t.connector) {
			o.writers[t.name] = handover.Writers{Keep: p.keep, Node: string(p.net.Local()), Key: d.Key, Sink: t.name, At: i, Sinks: len(found.targets)}
			continue
		}
		spec := s.sinkSpec(d.Query, found.plan, i, t, false)
		spec.Options = spec.Options.Known(t.connector.Options)
		sink, writers, err := t.connector.New(ctx, spec)
		if err != nil {
			return nil, nil, fmt.Errorf("sink %s: %w", t.table.Name, err)
		}
		o.sinks, o.writers[t.name] = append(o.sinks, sink), writers
	}
	p.mu.Lock()
	p.mu.byKey[d.Key] = o
	p.mu.Unlock()
	return found.plan.Plan, func() { p.release(d.Key) }, nil
}

// release closes what a plan has opened.
func (p *plans) release(key string) {
	p.mu.Lock()
	o := p.mu.byKey[key]
	delete(p.mu.byKey, key)
	p.mu.Unlock()
	if o == nil {
		return
	}
	if err := o.close(); err != nil {
		p.s.opts.Logger.Warn("close a plan", "plan", key, "err", err)
	}
}

func (o *opened) close() error {
	var errs []error
	for _, done := range o.kept {
		done()
	}
	for _, s := range o.sinks {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, o.s.Close())...)
}

func (p *plans) of(key string) (*opened, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o := p.mu.byKey[key]; o != nil {
		return o, nil
	}
	return nil, batch.ExternalError(fmt.Errorf("plan %s is not deployed on this worker", key), true)
}

// Opener implements worker.Connectors.
func (p *plans) Opener(key, source string) (sources.Opener, error) {
	o, err := p.of(key)
	if err != nil {
		return nil, err
	}
	if op := o.openers[source]; op != nil {
		return op, nil
	}
	return nil, fmt.Errorf("plan %s has no source %s", key, source)
}

// Writers implements worker.Connectors.
func (p *plans) Writers(key, sink string) (sinks.WriterFactory, error) {
	o, err := p.of(key)
	if err != nil {
		return nil, err
	}
	if w := o.writers[sink]; w != nil {
		return w, nil
	}
	return nil, fmt.Errorf("plan %s has no sink %s", key, sink)
}
