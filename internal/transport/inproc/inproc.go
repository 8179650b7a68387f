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
	node := &Node{net: n, id: id, inbox: make(chan transport.Envelope, n.inboxMax), done: make(chan struct{})}
	n.mu.nodes[id] = node
	return node, nil
}

func (n *Network) find(id transport.NodeID) *Node {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.mu.nodes[id]
}

// Serve answers the Fetches of other nodes.
type Serve = func(ctx context.Context, ref transport.StreamRef) (sources.Reader, error)

// Node is one end of the network.
type Node struct {
	net   *Network
	id    transport.NodeID
	inbox chan transport.Envelope
	done  chan struct{} // closed first, so that waiting senders let go

	// sending is held shared by those who send to this node and exclusively to
	// close the inbox, which nobody may then be sending to.
	sending sync.RWMutex

	mu struct {
		sync.Mutex
		closed bool
		serve  Serve
	}
}

var _ transport.Transport = (*Node)(nil)

// Local returns the node's name.
func (n *Node) Local() transport.NodeID { return n.id }

// Inbox returns the queue of received messages. It is closed by Close.
func (n *Node) Inbox() <-chan transport.Envelope { return n.inbox }

// Send queues m at the node named to and waits while its queue is full.
func (n *Node) Send(ctx context.Context, to transport.NodeID, m transport.Message) error {
	peer := n.net.find(to)
	if peer == nil {
		return gone("send to", to)
	}
	peer.sending.RLock()
	defer peer.sending.RUnlock()
	select {
	case <-peer.done:
		return gone("send to", to)
	default:
	}
	env := transport.Envelope{From: n.id, Message: m}
	select {
	case peer.inbox <- env: // the fast path: no wait, no look at ctx
		return nil
	default:
	}
	select {
	case peer.inbox <- env:
		return nil
	case <-peer.done:
		return gone("send to", to)
	case <-n.done:
		return gone("send from", n.id)
	case <-ctx.Done():
		return fmt.Errorf("send to node %q, whose inbox is full: %w", to, context.Cause(ctx))
	}
}

// Fetch calls the other node's Serve function. The rows are the other node's own.
func (n *Node) Fetch(ctx context.Context, from transport.NodeID, ref transport.StreamRef, _ memory.Allocator) (sources.Reader, error) {
	peer := n.net.find(from)
	if peer == nil {
		return nil, gone("fetch from", from)
	}
	peer.mu.Lock()
	serve, closed := peer.mu.serve, peer.mu.closed
	peer.mu.Unlock()
	switch {
	case closed:
		return nil, gone("fetch from", from)
	case serve == nil:
		return nil, fmt.Errorf("fetch stage %d task %d from node %q: it serves nothing", ref.Stage, ref.Task, from)
	}
	return serve(ctx, ref)
}

// Serve registers who answers the Fetches of others, in place of the one before.
func (n *Node) Serve(f func(ctx context.Context, ref transport.StreamRef) (sources.Reader, error)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.serve = f
}

// Close takes the node off the network and closes its inbox; what lies in it can
// still be read. Closing again does nothing.
func (n *Node) Close() error {
	n.mu.Lock()
	closed := n.mu.closed
	n.mu.closed = true
	n.mu.Unlock()
	if closed {
		return nil
	}
	n.net.mu.Lock()
	delete(n.net.mu.nodes, n.id)
	n.net.mu.Unlock()
	close(n.done)
	n.sending.Lock()
	defer n.sending.Unlock()
	close(n.inbox)
	return nil
}

func gone(what string, id transport.NodeID) error {
	return batch.ExternalError(fmt.Errorf("%s node %q: %w", what, id, transport.ErrGone), true)
}
