package raftlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sluice-stream/sluice/batch"
)

// Leadership is what a driver begins to lead with: all that was ever committed.
type Leadership struct {
	Term    uint64 // raft's
	Catalog []Query
	// Pipelines are what is to run.
	Pipelines []Pipeline
}

// reign is one time of leading. Its ctx ends when leadership does.
type reign struct {
	term   uint64
	ctx    context.Context
	cancel context.CancelFunc
}

// reigns follows raft's word on who leads.
type reigns struct {
	notify chan bool
	mu     struct {
		sync.Mutex
		now     *reign        // nil: another node leads, or none
		changed chan struct{} // closed when now changes
		over    bool          // there will be no other
	}
}

func (r *reigns) init() {
	r.notify = make(chan bool, 1)
	r.mu.changed = make(chan struct{})
}

func (r *reigns) set(now *reign) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.now != nil {
		r.mu.now.cancel()
	}
	if r.mu.over && now != nil {
		now.cancel()
		now = nil
	}
	r.mu.now = now
	close(r.mu.changed)
	r.mu.changed = make(chan struct{})
}

// end ends the reign there is and allows no other.
func (r *reigns) end() {
	r.mu.Lock()
	r.mu.over = true
	r.mu.Unlock()
	r.set(nil)
}

func (r *reigns) current() (now *reign, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.now, r.mu.changed
}

// followReigns turns raft's notices into reigns. Raft waits until they are taken.
func (n *Node) followReigns() {
	for {
		select {
		case <-n.ctx.Done():
			return
		case leads := <-n.reigns.notify:
			if !leads {
				n.reigns.set(nil)
				continue
			}
			ctx, cancel := context.WithCancel(n.ctx)
			n.reigns.set(&reign{term: n.raft.CurrentTerm(), ctx: ctx, cancel: cancel})
		}
	}
}

// Lead calls f each time this node has become the leader and knows all that was ever
// committed. The ctx that f gets ends when leadership does; Lead waits for f before
// it calls it again. An error of f's while the node leads ends Lead, as the end of
// ctx and of the node do.
func (n *Node) Lead(ctx context.Context, f func(context.Context, Leadership) error) error {
	var served *reign
	for {
		now, changed := n.reigns.current()
		if now != nil && now != served {
			served = now
			if err := n.serve(ctx, now, f); err != nil {
				return err
			}
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-n.ending.ch:
			return n.ending.err
		case <-n.ctx.Done():
			return ErrClosed
		}
	}
}

// serve lets f lead for one reign. Leadership that is lost before f has begun, or
// while it runs, is no error.
func (n *Node) serve(ctx context.Context, r *reign, f func(context.Context, Leadership) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	err := n.introduce(ctx) // what was committed before is applied, and the cluster has a name
	if err == nil && r.ctx.Err() == nil {
		l := Leadership{Term: r.term}
		n.fsm.read(func(s *state) { l.Catalog, l.Pipelines = s.catalog(), s.scripts() })
		n.opt.Logger.Info("this driver leads", "driver", n.opt.ID, "term", r.term)
		err = f(ctx, l)
		n.opt.Logger.Info("this driver leads no more", "driver", n.opt.ID, "term", r.term)
	}
	if err == nil || r.ctx.Err() != nil || errors.Is(err, ErrNotLeader) {
		return nil
	}
	return err
}

// herald notes who leads, for those who are sent here, and gives the cluster its name.
func (n *Node) herald() {
	for {
		r, changed := n.reigns.current()
		var again <-chan time.Time
		if r != nil {
			if err := n.introduce(r.ctx); err != nil && r.ctx.Err() == nil {
				n.opt.Logger.Warn("the leader could not note its address", "driver", n.opt.ID, "error", err)
				again = time.After(n.opt.HeartbeatTimeout)
			}
		}
		select {
		case <-changed:
		case <-again:
		case <-n.client.changed:
		case <-n.ctx.Done():
			return
		}
	}
}

func (n *Node) introduce(ctx context.Context) error {
	if err := n.barrier(ctx); err != nil {
		return err
	}
	me := n.me()
	var known Driver
	n.fsm.read(func(s *state) { known = s.drivers[me.ID] })
	if me.Cluster == "" {
		id, err := drawUUID()
		if err != nil {
			return err
		}
		if _, err := n.propose(ctx, setCluster{id}); err != nil {
			return err
		}
	}
	if known == me.Driver {
		return nil
	}
	_, err := n.propose(ctx, setDriver{me.Driver})
	return err
}

// await waits for a future of raft's, but not longer than for ctx or the node. What
// becomes of the operation then is not known.
func (n *Node) await(ctx context.Context, begin func() raft.Future) error {
	done := make(chan error, 1)
	if !n.spawn(func() { done <- begin().Error() }) {
		return ErrClosed
	}
	select {
	case err := <-done:
		return n.explain(err)
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-n.ending.ch:
		return n.ending.err
	case <-n.ctx.Done():
		return ErrClosed
	}
}

// spawn runs f on a goroutine that Close waits for, unless it has begun to wait. It waits
// before it ends raft, which leaves some of its futures without an answer when it ends.
func (n *Node) spawn(f func()) bool {
	n.spawning.Lock()
	defer n.spawning.Unlock()
	if n.ctx.Err() != nil {
		return false
	}
	n.asks.Go(f)
	return true
}

// explain puts raft's errors in our words.
func (n *Node) explain(err error) error {
	switch {
	case n.Err() != nil: // also for what raft calls done: nothing is applied any more
		return n.Err()
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrRaftShutdown):
		return ErrClosed
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrLeadershipTransferInProgress),
		errors.Is(err, raft.ErrAbortedByRestore), errors.Is(err, raft.ErrEnqueueTimeout):
		return &NotLeader{Leader: n.Leader()}
	default:
		return batch.ExternalError(fmt.Errorf("replicated log: %w", err), true)
	}
}

// barrier returns when all that was committed before the call is applied here, and a
// majority has agreed meanwhile that this node leads: what is read then is the newest.
func (n *Node) barrier(ctx context.Context) error {
	return n.await(ctx, func() raft.Future { return n.raft.Barrier(n.opt.HeartbeatTimeout) })
}

// propose replicates a command and returns what it gave. nil error: a majority holds
// it, it is applied here, and this node leads (R1). After other errors it may have
// been committed, or may still be.
func (n *Node) propose(ctx context.Context, c command) (Query, error) {
	if r, _ := n.reigns.current(); r == nil {
		if n.Err() != nil {
			return Query{}, n.Err()
		}
		return Query{}, &NotLeader{Leader: n.Leader()}
	}
	b, err := encodeCommand(c)
	if err != nil {
		return Query{}, refuse(err)
	}
	var out outcome
	sent := time.Now()
	err = n.await(ctx, func() raft.Future {
		f := n.raft.Apply(b, n.opt.HeartbeatTimeout)
		return answered{f, &out}
	})
	if err != nil {
		return Query{}, err
	}
	if out.err != nil {
		return out.query, out.err
	}
	return out.query, n.stillLeads(ctx, sent)
}

// answered is a future that keeps the state machine's answer.
type answered struct {
	raft.ApplyFuture
	out *outcome
}

func (a answered) Error() error {
	if err := a.ApplyFuture.Error(); err != nil {
		return err
	}
	var ok bool
	if *a.out, ok = a.Response().(outcome); !ok {
		return fmt.Errorf("the state machine answers %T", a.Response())
	}
	return nil
}

// stillLeads holds up who was asleep since: a majority answered after sent, and none of
// it stands for another leader before its heartbeat timeout has passed since. Within
// the lease that is enough; later, the majority is asked again (C17), with an entry:
// raft's VerifyLeader also counts answers to heartbeats that were sent before it was
// called, and such an answer may have waited in a socket for as long as we slept.
func (n *Node) stillLeads(ctx context.Context, sent time.Time) error {
	r, _ := n.reigns.current()
	if r == nil {
		return &NotLeader{Leader: n.Leader()}
	}
	if time.Since(sent) < n.opt.LeaseTimeout && n.handing.Load() == 0 {
		return nil
	}
	return n.barrier(ctx)
}

// Leader returns who leads as far as this node knows; zero: it does not.
func (n *Node) Leader() Driver {
	addr, id := n.raft.LeaderWithID()
	if id == "" {
		return Driver{}
	}
	d := Driver{ID: string(id)}
	n.fsm.read(func(s *state) {
		if known, ok := s.drivers[d.ID]; ok {
			d = known
		}
	})
	d.Address, d.Disk = splitAddress(addr)
	return d
}
