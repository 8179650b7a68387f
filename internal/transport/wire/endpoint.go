package wire

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/internal/transport"
	pb "github.com/sluice-stream/sluice/internal/transport/wire/wirepb"
	"github.com/sluice-stream/sluice/sources"
)

// Serve answers the Fetches of other nodes.
type Serve = transport.Serve

// Endpoint is a node of the driver's process behind its Hub. Each worker that is lost is
// told of by a Lost message, to all endpoints. Who does not read its Inbox makes all
// messages wait that come from the same workers.
type Endpoint struct {
	*transport.Port
	hub *Hub
}

var _ transport.Transport = (*Endpoint)(nil)

// deliver hands a message of a worker to the endpoint that it is for, and waits for room
// until stop is closed; with a nil stop it does not wait, and returns false. One that is
// not there any more has no use for it. Who it is from is not the message's to say.
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
	env := transport.Envelope{From: from, Message: m}
	if stop == nil {
		return e.Offer(env) || e.Closed()
	}
	e.Put(env, stop, nil)
	return true
}

// Send queues m for a worker, or hands it to another endpoint of the hub. It waits while
// too much is under way, and does not wait until m arrives.
func (e *Endpoint) Send(ctx context.Context, to transport.NodeID, m transport.Message) error {
	if e.Closed() {
		return gone("send from", e.Local(), "it is closed")
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
	env, err := envelope(e.Local(), to, m)
	if err != nil {
		return err
	}
	if err := w.session.send(ctx, &pb.Frame{Body: &pb.Frame_Envelope{Envelope: env}}); err != nil {
		return fmt.Errorf("send to node %q: %w", to, err)
	}
	return nil
}

func (e *Endpoint) sendLocal(ctx context.Context, o *Endpoint, m transport.Message) error {
	if o.Put(transport.Envelope{From: e.Local(), Message: m}, ctx.Done(), nil) || ctx.Err() == nil {
		return nil
	}
	return fmt.Errorf("send to node %q, whose inbox is full: %w", o.Local(), context.Cause(ctx))
}

// Fetch reads rows that lie on a worker or are served by another endpoint. That there are
// none, too, is said by the first Next. A Next that is given up ends the reader.
func (e *Endpoint) Fetch(ctx context.Context, from transport.NodeID, ref transport.StreamRef, alloc memory.Allocator) (sources.Reader, error) {
	if o := e.hub.end(from); o != nil {
		serve := o.Serving()
		if serve == nil {
			return nil, fmt.Errorf("fetch stage %d task %d from node %q: it serves nothing", ref.Stage, ref.Task, from)
		}
		return serve(ctx, ref)
	}
	return e.hub.rows.fetch(ctx, from, ref, nil, alloc)
}

// FetchTasks is Fetch of several tasks, by one stream.
func (e *Endpoint) FetchTasks(ctx context.Context, from transport.NodeID, ref transport.StreamRef, tasks []int, alloc memory.Allocator) (transport.TasksReader, error) {
	if o := e.hub.end(from); o != nil {
		serve := o.Serving()
		if serve == nil {
			return nil, fmt.Errorf("fetch stage %d from node %q: it serves nothing", ref.Stage, from)
		}
		return transport.InTurn(ref, tasks, serve), nil
	}
	return e.hub.rows.fetchTasks(ctx, from, ref, tasks, alloc)
}

// Close takes the endpoint off the network and closes its inbox; what lies in it can
// still be read. Closing again does nothing.
func (e *Endpoint) Close() error {
	if !e.Shut() {
		return nil
	}
	e.hub.ends.Lock()
	defer e.hub.ends.Unlock()
	delete(e.hub.ends.byID, e.Local())
	return nil
}
