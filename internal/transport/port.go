package transport

import (
	"context"
	"sync"

	"github.com/sluice-stream/sluice/sources"
)

// Serve answers the Fetches of other nodes.
type Serve = func(ctx context.Context, ref StreamRef) (sources.Reader, error)

// Port is what nodes of every kind have in their own process: a name, a bounded queue of
// messages for them, and who answers Fetches.
type Port struct {
	id    NodeID
	inbox chan Envelope
	done  chan struct{} // closed first, so that who waits lets go

	// sending is held shared by those who put messages in and exclusively to close the
	// inbox, which nobody may then be sending to.
	sending sync.RWMutex

	mu struct {
		sync.Mutex
		closed bool
		serve  Serve
	}
}

// NewPort returns a port for so many waiting messages.
func NewPort(id NodeID, inboxMax int) *Port {
	return &Port{id: id, inbox: make(chan Envelope, inboxMax), done: make(chan struct{})}
}

// Local returns the node's name.
func (p *Port) Local() NodeID { return p.id }

// Inbox returns the queue of received messages. It is closed by Shut. Who does not read it
// makes those wait who have messages for it.
func (p *Port) Inbox() <-chan Envelope { return p.inbox }

// Put puts a message into the inbox. Without room it waits until there is, or the port,
// stop or stop2 is closed. It reports whether the message is in the inbox.
func (p *Port) Put(env Envelope, stop, stop2 <-chan struct{}) bool {
	p.sending.RLock()
	defer p.sending.RUnlock()
	if p.Closed() {
		return false
	}
	select {
	case p.inbox <- env: // the fast path: no wait, no look at the others
		return true
	default:
	}
	select {
	case p.inbox <- env:
		return true
	case <-p.done:
	case <-stop:
	case <-stop2:
	}
	return false
}

// Offer is Put that does not wait.
func (p *Port) Offer(env Envelope) bool { return p.Put(env, now, nil) }

// now is over for ever.
var now = func() <-chan struct{} { c := make(chan struct{}); close(c); return c }()

// Serve registers who answers the Fetches of others, in place of the one before.
func (p *Port) Serve(f func(ctx context.Context, ref StreamRef) (sources.Reader, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.serve = f
}

// Serving returns who answers, nil for nobody.
func (p *Port) Serving() Serve {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.serve
}

// Done is closed when the port is.
func (p *Port) Done() <-chan struct{} { return p.done }

// Closed reports whether the port is closed.
func (p *Port) Closed() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Shut closes the port and its inbox; what lies in it can still be read. It reports
// whether the port was open.
func (p *Port) Shut() bool {
	p.mu.Lock()
	closed := p.mu.closed
	p.mu.closed = true
	p.mu.Unlock()
	if closed {
		return false
	}
	close(p.done)
	p.sending.Lock()
	defer p.sending.Unlock()
	close(p.inbox)
	return true
}
