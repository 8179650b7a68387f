//go:build synctests

package bubble

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/driver/raftlog"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/wire"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sinks/handover"
	"github.com/sluice-stream/sluice/sources"
)

const (
	queryID   = batch.QueryID("q-1")
	queryName = "everything"
	stateDir  = "ck/state"
	raftPort  = "7000"
	hubPort   = "7001"
	rowsPort  = "7002"
)

// driverProc is the process of a driver.
type driverProc struct {
	*host
	w       *world
	node    *raftlog.Node
	hub     *wire.Hub
	members *driver.Members
	direct  sync.Mutex // held while workers are sent elsewhere
	leading bool       // guarded by direct
	cancel  context.CancelFunc
	work    sync.WaitGroup
	query   atomic.Pointer[driver.Query] // that it runs
}

// startDriver starts a driver on what its disk holds.
func (w *world) startDriver(id string) (*driverProc, error) {
	d := &driverProc{host: w.newHost(id), w: w}
	var ctx context.Context
	ctx, d.cancel = context.WithCancel(context.Background())
	if err := d.open(ctx); err != nil {
		return nil, errors.Join(err, d.end())
	}
	d.work.Go(func() { d.hub.Watch(ctx, d.changed) })
	d.work.Go(func() { d.follow(ctx) })
	d.work.Go(func() {
		err := d.node.Lead(ctx, d.lead)
		if d.node.Err() == nil && ctx.Err() == nil && !d.dead.Load() {
			w.violated("driver %s does not want to lead any more: %v", d.name, err)
		}
	})
	d.work.Go(func() { // the process ends with its disk
		select {
		case <-d.node.Failed():
			w.died(d)
		case <-ctx.Done():
		}
	})
	return d, nil
}

func (d *driverProc) open(ctx context.Context) error {
	forRaft, err := d.listen(raftPort)
	if err != nil {
		return err
	}
	peers := map[string]string{}
	for _, p := range d.w.drivers {
		peers[p] = ipOf(p) + ":" + raftPort
	}
	d.node, err = raftlog.Open(raftlog.Options{ID: d.name, Dir: "node", FS: d.fs(d.w.disks[d.name]), Listen: peers[d.name], Listener: forRaft, Dial: d.dial,
		Client: d.ip + ":" + hubPort, Peers: peers, SegmentBytesMax: 16 << 10, SnapshotEntries: 64, SnapshotInterval: 5 * time.Second,
		HeartbeatTimeout: d.w.heartbeat, DiskTimeout: d.w.disk})
	if err != nil {
		return err
	}
	forWorkers, err := d.listen(hubPort)
	if err != nil {
		return err
	}
	d.members = driver.NewMembers(d.clock)
	d.hub, err = wire.Listen(ctx, wire.Options{ID: transport.NodeID(d.name), Listener: forWorkers, Dial: d.dialTCP, Lease: d.w.lease, Heartbeat: d.w.beat, RetryMax: d.w.retry})
	if err == nil {
		d.hub.Dismiss("")
	}
	return err
}

// follow sends workers where they are to go whenever that changes, as a driver of the
// program does.
func (d *driverProc) follow(ctx context.Context) {
	for {
		_, changed := d.node.Followed()
		d.send()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (d *driverProc) send() {
	d.direct.Lock()
	defer d.direct.Unlock()
	if d.leading {
		d.hub.Recall()
		return
	}
	to := ""
	if l := d.node.Leader(); l.ID != "" && l.ID != d.name { // who leads and does not say so knows not yet all that was committed
		to = ipOf(l.ID) + ":" + hubPort
	}
	d.hub.Dismiss(to)
}

// set begins a leadership, or ends it.
func (d *driverProc) set(leading bool) {
	d.direct.Lock()
	d.leading = leading
	d.direct.Unlock()
	d.send()
}

func (h *host) dialTCP(ctx context.Context, address string) (net.Conn, error) {
	return h.dial(ctx, "tcp", address)
}

// end gives everything back, whatever was killed.
func (d *driverProc) end() error {
	d.cancel()
	var errs []error
	if d.hub != nil {
		errs = append(errs, d.hub.Close())
	}
	if d.node != nil {
		errs = append(errs, d.node.Close(context.Background()))
	}
	d.work.Wait()
	d.kill() // what is still open
	return errors.Join(errs...)
}

func (d *driverProc) changed(e wire.Event) {
	m := e.Member
	run := fmt.Sprint(m.Session)
	switch e.Change {
	case wire.Joined:
		d.members.Join(driver.Member{ID: m.ID, Run: run, Address: m.Addr, Slots: m.Resources.Slots})
	case wire.Draining:
		d.members.Drain(m.ID, run)
	case wire.Lost:
		d.members.Lose(m.ID, run)
	}
}

// lead runs the query while this driver leads. A life that ends for a reason that may pass
// is followed by another, as a supervisor would have it.
func (d *driverProc) lead(ctx context.Context, l raftlog.Leadership) error {
	d.set(true)
	defer d.set(false)
	if len(l.Catalog) == 0 {
		if _, err := d.node.Create(ctx, raftlog.Query{ID: queryID, Name: queryName, Spec: raftlog.Spec{SQL: script}}); err != nil && !errors.Is(err, raftlog.ErrExists) {
			return nil // whoever leads next does it
		}
	}
	for ctx.Err() == nil {
		err := d.live(ctx)
		if ctx.Err() != nil || d.dead.Load() || d.node.Err() != nil {
			return nil
		}
		if kind, again := batch.KindOf(err); !errors.Is(err, batch.ErrFenced) && err != nil && !again && !d.w.excused(err) {
			d.w.violated("driver %s: the query ended by an error of kind %v: %v", d.name, kind, err)
		}
		d.w.count("life ended early")
		d.w.note("driver %s: a life of the query ended: %v", d.name, err)
		if clock.Wait(ctx, clock.System(), 300*time.Millisecond) != nil {
			break
		}
	}
	return nil
}

// live is one life of the query.
func (d *driverProc) live(ctx context.Context) (err error) {
	log, err := d.node.Log(ctx, queryID)
	if err != nil {
		return batch.ExternalError(err, true)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	next := func(ctx context.Context) (driver.BatchLog, batch.Term, error) {
		if err := log.Close(); err != nil {
			return nil, 0, err
		}
		l, err := d.node.Log(ctx, queryID)
		if err != nil {
			return nil, 0, batch.ExternalError(err, true)
		}
		log = l
		return &watchedLog{l, d}, l.Term(), nil
	}
	shared := d.fs(d.w.shared)
	c, err := d.w.query.connect(ctx, d.host, d.w.shared, true)
	if err != nil {
		return batch.ExternalError(err, true)
	}
	defer func() {
		if cerr := c.close(); cerr != nil {
			d.w.note("driver %s: close: %v", d.name, cerr)
		}
	}()
	end, err := d.hub.Join(transport.NodeID("driver/" + string(queryID)))
	if err != nil {
		return batch.ExternalError(err, true)
	}
	defer func() { err = errors.Join(err, end.Close()) }()
	plan := d.w.query.Plan
	own, transactional := map[string]sinks.Sink{}, map[string]bool{}
	for i, t := range d.w.query.targets {
		name := plan.Sinks[i].Name
		own[name] = d.w.shown(c.sinks[name])
		if t.Connector == "kafka" {
			transactional[name] = true
			own[name] = handover.New(own[name], c.writers[name], func(ctx context.Context, at handover.Place) (handover.Reader, error) {
				ref := transport.StreamRef{Key: at.Key, Batch: at.Batch, Stage: at.Stage, Task: at.Task}
				return end.Fetch(ctx, transport.NodeID(at.Node), ref, d.w.alloc)
			}, name)
		}
	}
	if err := vfsx.MkdirAll(shared, stateDir, 0o700); err != nil {
		return batch.ExternalError(err, true)
	}
	q, err := driver.Start(ctx, driver.Options{
		Name: queryName, Query: queryID, Plan: plan, PlanHash: plan.Key, Deployed: transport.PlanText{Key: plan.Key, Query: queryName},
		Sources: map[string]sources.Source{plan.Sources[0].Name: c.source}, Sinks: own, Transactional: transactional,
		Log: &watchedLog{log, d}, NextLife: next, StateDir: stateDir, Transport: end, Members: d.members, Parallelism: d.w.partitions, Standbys: d.w.standbys, Clock: d.clock, TaskTimeout: 20 * time.Second,
		Listener: driver.ListenerFunc(func(_ driver.Origin, e driver.Event) { d.w.event(d, e) }),
		Protocol: microbatch.Options{Term: log.Term(), Trigger: microbatch.Trigger{Kind: microbatch.Every, Interval: d.w.trigger}, CheckpointInterval: d.w.checkpoint,
			CheckpointsKept: 2, NoFinalCheckpoint: true, PollInterval: d.w.poll},
	})
	if err != nil {
		return err
	}
	d.query.Store(q)
	err = q.Await(context.Background()) // it ends with ctx
	d.query.Store(nil)
	return err
}

// watchedLog tells the checkers what a life of the query has appended and read.
type watchedLog struct {
	driver.BatchLog
	d *driverProc
}

func (l *watchedLog) Append(ctx context.Context, term batch.Term, recs ...microbatch.Record) error {
	err := l.BatchLog.Append(ctx, term, recs...)
	if err == nil && !l.d.dead.Load() {
		for _, r := range recs {
			l.d.w.ledger.wrote(l.d.name, term, r)
		}
	}
	return err
}

func (l *watchedLog) Replay(ctx context.Context, from batch.ID) iter.Seq2[microbatch.Record, error] {
	return l.d.w.seen(func(yield func(microbatch.Record, error) bool) {
		for r, err := range l.BatchLog.Replay(ctx, from) {
			if err == nil {
				l.d.w.ledger.read(l.d.name, r)
			}
			if !yield(r, err) {
				return
			}
		}
	})
}
