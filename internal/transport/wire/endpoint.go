package wire

import (
	"context"
	"fmt"
	"sync"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/internal/transport"
	pb "github.com/sluice-stream/sluice/internal/transport/wire/wirepb"
	"github.com/sluice-stream/sluice/sources"
)

// Serve answers the Fetches of other nodes.
type Serve = func(ctx context.Context, ref transport.StreamRef) (sources.Reader, error)

// Endpoint is a node of the driver's process behind its Hub. Each worker that is lost is
// told of by a Lost message, to all endpoints.
type Endpoint struct {
	hub   *Hub
	id    transport.NodeID
	inbox chan transport.Envelope
	done  chan struct{} // closed first, so that who waits lets go

	// sending is held shared by those who send to this endpoint and exclusively to close
	// the inbox, which nobody may then be sending to.
	sending sync.RWMutex

	mu struct {
		sync.Mutex
		closed bool
		serve  Serve
	}
}

var _ transport.Transport = (*Endpoint)(nil)

// Local returns the endpoint's name.
func (e *Endpoint) Local() transport.NodeID { return e.id }

// Inbox returns the queue of received messages. It is closed by Close. Who does not read it
// makes all messages wait that come from the same workers.
func (e *Endpoint) Inbox() <-chan transport.Envelope { return e.inbox }

// put hands a message over and waits for room until stop is closed; with a nil stop it
// does not wait, and returns false.
func (e *Endpoint) put(env transport.Envelope, stop <-chan struct{}) bool {
	e.sending.RLock()
	defer e.sending.RUnlock()
	select {
	case <-e.done:
		return true // nobody is there to want it
	default:
	}
	select {
	case e.inbox <- env:
		return true
	default:
	}
	if stop == nil {
		return false
	}
	select {
	case e.inbox <- env:
	case <-e.done:
	case <-stop:
	}
	return true
}

// deliver hands a message of a worker to the endpoint that it is for. One that is not
// there any more has no use for it. Who it is from is not the message's to say.
func (h *Hub) deliver(from transport.NodeID, p *pb.Envelope, stop <-chan struct{}) bool {
	e := h.end(transport.NodeID(p.GetTo()))
	if e == nil {
		return true
	}
	m, err := message(p)
	if err != nil {
		h.opt.Logger.Error("a message is dropped", "worker", string(from), "error", err)
		return true
	}
	return e.put(transport.Envelope{From: from, Message: m}, stop)
}

// Send queues m for a worker, or hands it to another endpoint of the hub. It waits while
// too much is under way, and does not wait until m arrives.
func (e *Endpoint) Send(ctx context.Context, to transport.NodeID, m transport.Message) error {
	select {
	case <-e.done:
		return gone("send from", e.id, "it is closed")
	default:
	}
	if o := e.hub.end(to); o != nil {
		return e.sendLocal(ctx, o, m)
	}
	e.hub.mu.Lock()
	w := e.hub.mu.members[to]
	e.hub.mu.Unlock()
	if w == nil {
		return gone("send to", to, "it has not joined, or is lost")
	}
	env, err := envelope(e.id, to, m)
	if err != nil {
		return err
	}
	if err := w.session.send(ctx, &pb.Frame{Body: &pb.Frame_Envelope{Envelope: env}}); err != nil {
		return fmt.Errorf("send to node %q: %w", to, err)
	}
	return nil
}

func (e *Endpoint) sendLocal(ctx context.Context, o *Endpoint, m transport.Message) error {
	o.put(transport.Envelope{From: e.id, Message: m}, ctx.Done())
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("send to node %q, whose inbox is full: %w", o.id, context.Cause(ctx))
	}
	return nil
}

// Fetch reads rows that lie on a worker or are served by another endpoint. That there are
// none, too, is said by the first Next. A Next that is given up ends the reader.
func (e *Endpoint) Fetch(ctx context.Context, from transport.NodeID, ref transport.StreamRef, alloc memory.Allocator) (sources.Reader, error) {
	if o := e.hub.end(from); o != nil {
		serve := o.serving()
		if serve == nil {
			return nil, fmt.Errorf("fetch stage %d task %d from node %q: it serves nothing", ref.Stage, ref.Task, from)
		}
		return serve(ctx, ref)
	}
	return e.hub.rows.fetch(ctx, from, ref, alloc)
}

// Serve registers who answers the Fetches of others, in place of the one before.
func (e *Endpoint) Serve(f func(ctx context.Context, ref transport.StreamRef) (sources.Reader, error)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.serve = f
}

func (e *Endpoint) serving() Serve {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.mu.serve
}

// Close takes the endpoint off the network and closes its inbox; what lies in it can
// still be read. Closing again does nothing.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	closed := e.mu.closed
	e.mu.closed = true
	e.mu.Unlock()
	if closed {
		return nil
	}
	e.hub.ends.Lock()
	delete(e.hub.ends.byID, e.id)
	e.hub.ends.Unlock()
	close(e.done)
	e.sending.Lock()
	defer e.sending.Unlock()
	close(e.inbox)
	return nil
}
