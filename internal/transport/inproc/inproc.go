package inproc

import (
	"context"
	"fmt"
	"sync"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/sources"
)

// inboxDefault is larger than the number of messages that a driver has under
// way with one worker, so that neither waits for the other in normal work.
const inboxDefault = 1024

// Options configure a network. The zero value is usable.
type Options struct {
	// InboxMax is how many messages wait in a node's inbox before senders have
	// to; default 1024. A small value finds deadlocks in tests.
	InboxMax int
}

// Network connects the nodes of one process.
type Network struct {
	inboxMax int

	mu struct {
		sync.RWMutex
		nodes map[transport.NodeID]*Node
	}
}

// New returns a network without nodes.
func New(opt Options) *Network {
	n := &Network{inboxMax: opt.InboxMax}
	if n.inboxMax <= 0 {
		n.inboxMax = inboxDefault
	}
	n.mu.nodes = map[transport.NodeID]*Node{}
	return n
}

// Join adds a node. A name that is taken is refused until its node is closed.
func (n *Network) Join(id transport.NodeID) (*Node, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.nodes[id] != nil {
		return nil, fmt.Errorf("join the network as %q: the name is taken", id)
	}
	node := &Node{Port: transport.NewPort(id, n.inboxMax), net: n}
	n.mu.nodes[id] = node
	return node, nil
}

func (n *Network) find(id transport.NodeID) *Node {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.mu.nodes[id]
}

// Node is one end of the network.
type Node struct {
	*transport.Port
	net *Network
}

var _ transport.Transport = (*Node)(nil)

// Send queues m at the node named to and waits while its queue is full.
func (n *Node) Send(ctx context.Context, to transport.NodeID, m transport.Message) error {
	peer := n.net.find(to)
	if peer == nil {
		return gone("send to", to)
	}
	if peer.Put(transport.Envelope{From: n.Local(), Message: m}, n.Done(), ctx.Done()) {
		return nil
	}
	switch {
	case peer.Closed():
		return gone("send to", to)
	case n.Closed():
		return gone("send from", n.Local())
	}
	return fmt.Errorf("send to node %q, whose inbox is full: %w", to, context.Cause(ctx))
}

// Fetch calls the other node's Serve function. The rows are the other node's own.
func (n *Node) Fetch(ctx context.Context, from transport.NodeID, ref transport.StreamRef, _ memory.Allocator) (sources.Reader, error) {
	serve, err := n.served(from)
	if err != nil {
		return nil, fmt.Errorf("fetch stage %d task %d: %w", ref.Stage, ref.Task, err)
	}
	return serve(ctx, ref)
}

// FetchTasks calls the other node's Serve function for one task after the other.
func (n *Node) FetchTasks(_ context.Context, from transport.NodeID, ref transport.StreamRef, tasks []int, _ memory.Allocator) (transport.TasksReader, error) {
	serve, err := n.served(from)
	if err != nil {
		return nil, fmt.Errorf("fetch stage %d: %w", ref.Stage, err)
	}
	return transport.InTurn(ref, tasks, serve), nil
}

// served returns who answers at another node.
func (n *Node) served(from transport.NodeID) (transport.Serve, error) {
	peer := n.net.find(from)
	if peer == nil || peer.Closed() {
		return nil, gone("fetch from", from)
	}
	serve := peer.Serving()
	if serve == nil {
		return nil, fmt.Errorf("node %q serves nothing", from)
	}
	return serve, nil
}

// Close takes the node off the network and closes its inbox; what lies in it can
// still be read. Closing again does nothing.
func (n *Node) Close() error {
	if !n.Shut() {
		return nil
	}
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	delete(n.net.mu.nodes, n.Local())
	return nil
}

func gone(what string, id transport.NodeID) error {
	return batch.ExternalError(fmt.Errorf("%s node %q: %w", what, id, transport.ErrGone), true)
}
