package raftlog

import (
	"sync"

	"github.com/hashicorp/raft"
)

// leaders tells who waits that raft's word on who leads has changed.
type leaders struct {
	noticed  chan raft.Observation
	observer *raft.Observer
	mu       struct {
		sync.Mutex
		changed chan struct{} // closed at the next change
	}
}

func (l *leaders) init() {
	l.noticed = make(chan raft.Observation, 1) // one that waits says as much as many
	l.mu.changed = make(chan struct{})
	l.observer = raft.NewObserver(l.noticed, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
}

// followLeaders hands on what raft observes.
func (n *Node) followLeaders() {
	n.raft.RegisterObserver(n.leaders.observer)
	defer n.raft.DeregisterObserver(n.leaders.observer)
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.leaders.noticed:
			n.leaders.mu.Lock()
			close(n.leaders.mu.changed)
			n.leaders.mu.changed = make(chan struct{})
			n.leaders.mu.Unlock()
		}
	}
}

// Followed returns who leads, as Leader does, and a channel that is closed when that
// changes.
func (n *Node) Followed() (Driver, <-chan struct{}) {
	n.leaders.mu.Lock()
	changed := n.leaders.mu.changed
	n.leaders.mu.Unlock()
	return n.Leader(), changed
}

// client is where clients reach this driver, once that is known.
type client struct {
	mu      sync.Mutex
	addr    string
	changed chan struct{} // has room for one word that addr has changed
}

func (c *client) get() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addr
}

// SetClient says where clients reach this driver. When it leads, all drivers come to
// know it.
func (n *Node) SetClient(addr string) {
	n.client.mu.Lock()
	n.client.addr = addr
	n.client.mu.Unlock()
	select {
	case n.client.changed <- struct{}{}:
	default: // nobody has looked since the last change
	}
}
