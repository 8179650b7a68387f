package raftlog

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	foundEvery = 300 * time.Millisecond // between attempts to found or to be found
	askTimeout = 2 * time.Second
)

// waiting is why a node is not a member yet.
type waiting struct {
	mu  sync.Mutex
	err error
}

func (w *waiting) set(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

func (w *waiting) get() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// found makes a new cluster of the configured peers, or waits until this node is
// taken in. Who has any log never founds anything. The first peer by name founds,
// when all have answered that they have none: so one that lost its disk does not
// found a second cluster beside the one that it was in.
func (n *Node) found() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.ending.ch:
			return
		case <-timer.C:
		}
		if n.self().Member {
			n.idle.set(nil)
			return
		}
		conf, err := n.founding()
		if err == nil && conf != nil {
			_ = n.raft.BootstrapCluster(*conf) // what became of it shows in the log
		}
		if n.ctx.Err() == nil && err != nil && (n.idle.get() == nil || n.idle.get().Error() != err.Error()) {
			n.opt.Logger.Warn("this driver is in no cluster yet", "driver", n.opt.ID, "reason", err)
		}
		n.idle.set(err)
		timer.Reset(foundEvery)
	}
}

// founding asks every peer and returns the new cluster's members if this node is to
// found it.
func (n *Node) founding() (*raft.Configuration, error) {
	me := n.me()
	peers := n.opt.Peers
	if len(peers) == 0 {
		peers = map[string]string{me.ID: me.Address}
	}
	var conf raft.Configuration
	ids := slices.Sorted(maps.Keys(peers))
	for _, id := range ids {
		p := me
		if id != me.ID {
			var err error
			if p, err = n.net.ask(peers[id], askTimeout); err != nil {
				return nil, fmt.Errorf("wait for driver %s: %w", id, err)
			}
		}
		switch {
		case p.ID != id:
			return nil, fmt.Errorf("%w: driver %s answers at %s, where driver %s should be", ErrForeignDisk, p.ID, peers[id], id)
		case p.Member && p.Cluster != "":
			return nil, fmt.Errorf("%w: driver %s is in cluster %s, and this one has an empty disk %s: have the cluster take it in (sluice drivers add), or if it was in it before, replace it (sluice drivers replace)",
				ErrLostDisk, id, p.Cluster, me.Disk)
		case p.Member:
			return nil, fmt.Errorf("wait for driver %s, whose cluster has no leader yet", id)
		}
		conf.Servers = append(conf.Servers, raft.Server{ID: raft.ServerID(id), Address: joinAddress(peers[id], p.Disk)})
	}
	if ids[0] != me.ID {
		return nil, fmt.Errorf("wait for driver %s to found the cluster", ids[0])
	}
	return &conf, nil
}

// AddDriver makes the driver at an address a voter. ErrLostDisk: the cluster knows it
// by another disk, see ReplaceDriver.
func (n *Node) AddDriver(ctx context.Context, hostPort string) (Driver, error) {
	p, err := n.net.ask(hostPort, askTimeout)
	if err != nil {
		return Driver{}, err
	}
	me := n.me()
	if p.Cluster != "" && p.Cluster != me.Cluster {
		return Driver{}, refuse(fmt.Errorf("add driver %s: %w: it is in cluster %s, this one is %s", p.ID, ErrForeignDisk, p.Cluster, me.Cluster))
	}
	servers, err := n.servers()
	if err != nil {
		return Driver{}, err
	}
	for _, s := range servers {
		if _, disk := splitAddress(s.Address); string(s.ID) == p.ID && disk != p.Disk {
			return Driver{}, refuse(fmt.Errorf("add driver %s with disk %s: %w (%s); if that is lost for good, replace the driver", p.ID, p.Disk, ErrLostDisk, disk))
		}
	}
	p.Address = hostPort
	if err := n.await(ctx, func() raft.Future {
		return n.raft.AddVoter(raft.ServerID(p.ID), joinAddress(hostPort, p.Disk), 0, n.opt.HeartbeatTimeout)
	}); err != nil {
		return Driver{}, fmt.Errorf("add driver %s: %w", p.ID, err)
	}
	_, err = n.propose(ctx, setDriver{p.Driver})
	return p.Driver, err
}

// RemoveDriver takes a driver out of the group, this one too.
func (n *Node) RemoveDriver(ctx context.Context, id string) error {
	if _, err := n.propose(ctx, removeDriver{id}); err != nil {
		return fmt.Errorf("remove driver %s: %w", id, err)
	}
	if err := n.await(ctx, func() raft.Future { return n.raft.RemoveServer(raft.ServerID(id), 0, n.opt.HeartbeatTimeout) }); err != nil {
		return fmt.Errorf("remove driver %s: %w", id, err)
	}
	return nil
}

// ReplaceDriver takes out a driver whose disk is lost and takes in the one that
// answers in its place, under the same name.
func (n *Node) ReplaceDriver(ctx context.Context, hostPort string) (Driver, error) {
	p, err := n.net.ask(hostPort, askTimeout)
	if err != nil {
		return Driver{}, err
	}
	if p.Member || p.ID == n.opt.ID {
		return Driver{}, refuse(fmt.Errorf("replace driver %s: the one at %s has a log of its own", p.ID, hostPort))
	}
	if err := n.RemoveDriver(ctx, p.ID); err != nil {
		return Driver{}, err
	}
	return n.AddDriver(ctx, hostPort)
}

// Handover makes another driver lead. From then on a lease says nothing: the other may
// be elected at once.
func (n *Node) Handover(ctx context.Context) error {
	n.handing.Add(1)
	defer n.handing.Add(-1)
	return n.await(ctx, func() raft.Future { return n.raft.LeadershipTransfer() })
}

func (n *Node) servers() ([]raft.Server, error) {
	f := n.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, n.explain(err)
	}
	return f.Configuration().Servers, nil
}

// Status is what a node knows of itself and the group.
type Status struct {
	Self     Driver
	Cluster  string
	Leader   Driver // zero: not known
	Leads    bool
	Term     uint64
	Applied  uint64
	Newest   uint64    // index of its newest entry
	Commit   uint64    // index of the newest entry that it knows a majority to have
	Contact  time.Time // when it heard of its leader last; zero: never, or it leads
	Voters   []Driver
	Waiting  error // why it is in no cluster yet
	Failed   error
	Segments int
}

// Status returns it; nothing in it is newer than this node is.
func (n *Node) Status() (Status, error) {
	me := n.me()
	s := Status{Self: me.Driver, Cluster: me.Cluster, Leader: n.Leader(), Leads: n.raft.State() == raft.Leader, Term: n.raft.CurrentTerm(),
		Applied: n.raft.AppliedIndex(), Newest: n.raft.LastIndex(), Commit: n.raft.CommitIndex(), Contact: n.raft.LastContact(), Waiting: n.idle.get(), Failed: n.Err()}
	n.store.idx.RLock()
	s.Segments = len(n.store.idx.segs)
	n.store.idx.RUnlock()
	servers, err := n.servers()
	var known []Driver
	n.fsm.read(func(st *state) { known = st.members() })
	for _, v := range servers {
		d := Driver{ID: string(v.ID)}
		if i := slices.IndexFunc(known, func(k Driver) bool { return k.ID == d.ID }); i >= 0 {
			d = known[i]
		}
		d.Address, d.Disk = splitAddress(v.Address)
		s.Voters = append(s.Voters, d)
	}
	return s, err
}
