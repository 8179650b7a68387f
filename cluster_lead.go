package sluice

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver/raftlog"
	"github.com/sluice-stream/sluice/internal/auth"
	"github.com/sluice-stream/sluice/internal/certs"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/mux"
	"github.com/sluice-stream/sluice/internal/transport/wire"
)

// group is a driver's part among several, of which one leads: it takes the workers and
// runs the pipelines. When it leads no more all of that is abandoned at once, for what an
// orderly end would write is refused; it may lead again.
type group struct {
	d    *Driver
	node *raftlog.Node
	port *mux.Mux // that workers and drivers share
	logs *driverLogs
	work sync.WaitGroup
	// assigned are lives of queries with their workers, to be noted for the next leader.
	assigned chan assignment

	mu struct {
		sync.Mutex
		now *leadership // nil: another driver leads, or none
	}
}

// leadership is one time of leading.
type leadership struct {
	ctx   context.Context // ends with it
	ready chan struct{}   // closed when every pipeline has been begun
	over  chan struct{}   // closed when nothing of it runs any more
}

// replicaDir is where a driver keeps what it must not forget as a member of its group.
const replicaDir = "replica"

// joinGroup opens the port and joins the other drivers.
func (d *Driver) joinGroup(ctx context.Context, o wire.Options) error {
	if o.ServerTLS == nil {
		for id, at := range d.opts.Peers {
			if host, _, err := net.SplitHostPort(at); err != nil || !auth.Loopback(host) {
				return batch.UserErrorf("--peers %s=%s: without TLS only a loopback address such as 127.0.0.1:7070 is spoken to: %s", id, at, nodeProtection)
			}
		}
	}
	if d.opts.Peers[d.opts.ID] == "" {
		return batch.UserErrorf("--peers has no driver %s: it lists this one too", d.opts.ID)
	}
	g := &group{d: d, assigned: make(chan assignment, assignedMax)}
	d.group = g
	l, err := d.opts.listener, error(nil)
	if l == nil {
		if l, err = new(net.ListenConfig).Listen(ctx, "tcp", o.Listen); err != nil {
			return fmt.Errorf("listen on %s: %w", o.Listen, err)
		}
	}
	if o.Limit != nil {
		l = o.Limit(l)
	}
	g.port = mux.Serve(l, mux.Options{TLS: o.ServerTLS, Refused: o.Refused, Logger: o.Logger, Protocols: []mux.Protocol{
		{ALPN: wire.ALPN, Head: wire.Greeting},
		{ALPN: raftlog.ALPN, Head: raftlog.Greeting, Admit: driversOnly},
	}})
	if o.Advertise == "" {
		o.Advertise = d.opts.Peers[d.opts.ID]
	}
	o.Listener, o.Limit = g.port.Listener(wire.ALPN), nil
	if d.hub, err = wire.Listen(ctx, o); err != nil {
		return err
	}
	d.hub.Dismiss("")
	d.watch.Go(func() { d.hub.Watch(d.ctx, d.changed) })
	g.node, err = raftlog.Open(raftlog.Options{
		ID: d.opts.ID, Dir: filepath.Join(d.opts.Data, replicaDir), Listener: g.port.Listener(raftlog.ALPN), Secured: true, Advertise: o.Advertise,
		ServerTLS: o.ServerTLS, ClientTLS: driversConfig(o), Peers: d.opts.Peers, Engine: cmp.Or(d.opts.Build, Version), Logger: d.opts.Logger, Fatal: d.fatal,
	})
	if err != nil {
		return err
	}
	g.logs = &driverLogs{g.node, newFileLogs(), d.base.buckets}
	d.watch.Go(d.tend) // which asks the node who leads
	g.work.Go(g.follow)
	g.work.Go(func() {
		if err := g.node.Lead(d.ctx, g.lead); err != nil && d.ctx.Err() == nil && !errors.Is(err, raftlog.ErrClosed) {
			d.opts.Logger.Error("this driver leads no more", "driver", d.opts.ID, "err", err)
		}
	})
	return nil
}

func (d *Driver) fatal(err error) {
	if d.opts.Fatal != nil {
		d.opts.Fatal(err)
		return
	}
	d.opts.Logger.Error("the driver can go on no more", "driver", d.opts.ID, "err", err)
}

// driversOnly lets drivers alone speak as drivers: a worker has a certificate too.
func driversOnly(s tls.ConnectionState) error {
	who, err := certs.Peer(s)
	if err == nil && who.Role != certs.Driver {
		err = fmt.Errorf("a %s speaks as a driver", who.Role)
	}
	return err
}

// driversConfig is for calling other drivers; nil without TLS.
func driversConfig(o wire.Options) func() (*tls.Config, error) {
	if o.ClientTLS == nil {
		return nil
	}
	return func() (*tls.Config, error) {
		c, err := o.ClientTLS()
		if err != nil {
			return nil, err
		}
		c = c.Clone()
		before := c.VerifyConnection
		c.VerifyConnection = func(s tls.ConnectionState) error {
			if before != nil {
				if err := before(s); err != nil {
					return err
				}
			}
			return driversOnly(s)
		}
		return c, nil
	}
}

// follow sends workers where they are to go whenever that changes.
func (g *group) follow() {
	for {
		_, changed := g.node.Followed()
		g.direct()
		select {
		case <-changed:
		case <-g.d.ctx.Done():
			return
		}
	}
}

// direct sends workers to who leads. To this driver only when it knows all that was
// committed; until then, and while nobody leads, they wait.
func (g *group) direct() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.now != nil {
		g.d.hub.Recall()
		return
	}
	leader := g.node.Leader()
	if leader.ID == g.d.opts.ID {
		leader.Address = ""
	}
	g.d.hub.Dismiss(leader.Address)
}

// set begins a leadership, or ends it.
func (g *group) set(now *leadership) {
	g.mu.Lock()
	g.mu.now = now
	g.mu.Unlock()
	g.direct()
}

func (g *group) current() *leadership {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.now
}

// lead runs all pipelines until another driver leads. Workers may come while they begin.
func (g *group) lead(ctx context.Context, l raftlog.Leadership) error {
	now := &leadership{ctx: ctx, ready: make(chan struct{}), over: make(chan struct{})}
	g.d.members.Gather(workersOf(l.Catalog), gatherFor)
	g.set(now)
	defer close(now.over)
	defer g.d.members.Gather(nil, 0)
	defer g.abandon()
	g.beginAll(ctx, l.Pipelines)
	close(now.ready)
	look := time.NewTicker(fencedEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case a := <-g.assigned:
			g.note(ctx, a)
		case <-look.C:
			g.beginAgain(ctx)
		}
	}
}

// beginAll starts the pipelines, several at a time: a pipeline that is started late is
// one whose batches are late.
func (g *group) beginAll(ctx context.Context, ps []raftlog.Pipeline) {
	g.d.submits.Lock()
	defer g.d.submits.Unlock()
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	var work sync.WaitGroup
	for _, p := range ps {
		slots <- struct{}{}
		work.Go(func() {
			defer func() { <-slots }()
			if ctx.Err() == nil {
				g.d.begin(ctx, &pipeline{stored: stored{Name: p.Name, SQL: p.SQL, Created: p.Created}})
			}
		})
	}
	work.Wait()
}

// abandon ends everything at once. Workers are sent on before: they may be with the next
// leader when the last of it has ended here.
func (g *group) abandon() {
	g.set(nil)
	g.d.submits.Lock()
	defer g.d.submits.Unlock()
	list := g.d.list()
	for _, p := range list {
		if p.s != nil {
			p.s.AbandonAll()
		}
	}
	for _, p := range list {
		g.end(p)
	}
	g.d.mu.Lock()
	defer g.d.mu.Unlock()
	g.d.mu.pipelines = map[string]*pipeline{}
}

// end closes what is left of a pipeline that was abandoned.
func (g *group) end(p *pipeline) {
	if p.s == nil {
		return
	}
	if err := p.s.Close(); err != nil {
		g.d.opts.Logger.Info("what was abandoned has ended", "pipeline", p.Name, "reason", err)
	}
}

// fencedEvery is how often the leader looks for queries that took another to lead.
const fencedEvery = 500 * time.Millisecond

// beginAgain starts the pipelines again of which a query has ended because an append was
// answered as if another driver led, and this one leads still: the answer came late.
func (g *group) beginAgain(ctx context.Context) {
	g.d.submits.Lock()
	defer g.d.submits.Unlock()
	for _, p := range g.d.list() {
		if ctx.Err() != nil || !p.fenced() {
			continue
		}
		g.d.opts.Logger.Warn("pipeline is started again: its log was fenced and this driver leads still", "pipeline", p.Name)
		if p.s != nil {
			p.s.AbandonAll()
		}
		g.end(p)
		g.d.begin(ctx, &pipeline{stored: p.stored})
	}
}

// fenced reports whether one of a pipeline's queries has ended because its log took no
// more of it.
func (p *pipeline) fenced() bool {
	if p.s == nil {
		return errors.Is(p.err, batch.ErrFenced) || errors.Is(p.err, raftlog.ErrNotLeader)
	}
	return slices.ContainsFunc(p.s.Queries(), func(q *Query) bool { return errors.Is(q.ended(), batch.ErrFenced) })
}

// leading returns a context that ends when this driver does not run pipelines any more,
// or an error that says who does. It waits until those have begun that are to run.
func (d *Driver) leading(ctx context.Context) (context.Context, error) {
	if d.group == nil {
		return d.ctx, nil
	}
	now := d.group.current()
	if now == nil {
		return nil, &raftlog.NotLeader{Leader: d.group.node.Leader()}
	}
	select {
	case <-now.ready:
		return now.ctx, nil
	case <-now.ctx.Done():
		return nil, &raftlog.NotLeader{Leader: d.group.node.Leader()}
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (g *group) keep(ctx context.Context, p stored) error {
	return g.node.Keep(ctx, raftlog.Pipeline{Name: p.Name, SQL: p.SQL, Created: p.Created})
}

func (g *group) withdraw(ctx context.Context, name string) error { return g.node.Withdraw(ctx, name) }

// handWait bounds how long a driver that ends tries to hand over.
const handWait = 5 * time.Second

// handOver makes another driver lead, if this one does and there is another.
func (g *group) handOver() {
	now := g.current()
	if now == nil || g.node == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), handWait)
	defer cancel()
	if err := g.node.Handover(ctx); err != nil {
		g.d.opts.Logger.Info("no other driver can lead", "driver", g.d.opts.ID, "reason", err)
		return
	}
	<-now.over
}

// close ends the driver's part in the group.
func (g *group) close() error {
	if g.node == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), handWait)
	defer cancel()
	return g.node.Close(ctx)
}

// release gives the port back and waits for what follows the group.
func (g *group) release() error {
	g.work.Wait()
	if g.port == nil {
		return nil
	}
	return g.port.Close()
}

// gatherFor is how long a new leader waits, when the first worker has come, for those that
// worked for the leader before: they have all lost that one at the same time.
const gatherFor = 200 * time.Millisecond

// assignedMax bounds what waits to be noted. What does not fit is not: it is only a hint.
const assignedMax = 256

// assignment is a life of a query with its workers.
type assignment struct {
	query   batch.QueryID
	workers []transport.NodeID
}

// taken notes who runs a query, without waiting.
func (g *group) taken(id batch.QueryID, workers []transport.NodeID) {
	select {
	case g.assigned <- assignment{id, workers}:
	default:
	}
}

// note tells all drivers who runs a query, so that whoever leads next knows whom to wait for.
func (g *group) note(ctx context.Context, a assignment) {
	q, ok := g.node.Query(a.query)
	if !ok {
		return
	}
	is := raftlog.Assignment{Life: uint64(q.Term)}
	for _, w := range a.workers {
		is.Workers = append(is.Workers, raftlog.WorkerEpoch{Worker: string(w)})
	}
	ctx, cancel := context.WithTimeout(ctx, handWait)
	defer cancel()
	if err := g.node.Assign(ctx, q.ID, q.Term, is); err != nil && ctx.Err() == nil && !errors.Is(err, batch.ErrFenced) {
		g.d.opts.Logger.Info("who runs a query could not be noted", "query", q.Name, "err", err)
	}
}

// workersOf are all that ran a query when it was noted last.
func workersOf(qs []raftlog.Query) (ids []transport.NodeID) {
	for _, q := range qs {
		for _, w := range q.Assigned.Workers {
			if id := transport.NodeID(w.Worker); !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}
