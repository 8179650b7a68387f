package wire

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	pb "github.com/sluice-stream/sluice/internal/transport/wire/wirepb"
	"github.com/sluice-stream/sluice/sources"
)

// Node is a worker's end. It looks for a driver, joins it and comes back to it by itself
// until Close. When a session ends, a Reset message says so in the Inbox, behind all
// messages of that session and before those of the next.
type Node struct {
	*transport.Port
	opt    Options
	addr   string
	server *grpc.Server
	rows   *rows
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	start  time.Time // from which pings count

	mu struct {
		sync.Mutex
		link     Link
		session  *session
		hub      uint64
		granted  time.Time // when the question was asked that the driver answered last
		lease    time.Duration
		beat     time.Duration
		ran      chan struct{} // closed when all of the last session was handed on
		draining bool
		changed  chan struct{}
		closed   bool
	}
}

var _ transport.Transport = (*Node)(nil)

// Link says how a worker stands with its driver.
type Link struct {
	Driver   transport.NodeID // that it has joined, or had
	Addr     string           // of that
	Session  uint64           // 0 if there is none: then no driver counts on the worker
	Attached bool             // a stream is open
	// Refused is why no driver takes the worker, for good; it tries no more then.
	Refused error
}

// Join opens a worker's end. It returns at once: Link tells when a driver has been found.
func Join(ctx context.Context, opt Options) (*Node, error) {
	if err := opt.Validate(); err != nil {
		return nil, fmt.Errorf("the worker's end of the network: %w", err)
	}
	if len(opt.Join) == 0 {
		return nil, batch.UserErrorf("a worker needs the address of a driver to join")
	}
	opt = opt.withDefaults()
	l, addr, err := opt.listen(ctx)
	if err != nil {
		return nil, err
	}
	n := &Node{Port: transport.NewPort(opt.ID, opt.InboxMax), opt: opt, addr: addr, start: opt.Clock.Now()}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.mu.changed = make(chan struct{})
	n.mu.lease, n.mu.beat = opt.Lease, opt.Heartbeat
	n.rows = newRows(&n.opt, func(id transport.NodeID) Serve {
		if id != opt.ID {
			return nil
		}
		return n.Serving()
	})
	n.server = newServer(&n.opt, n.rows, nil)
	n.wg.Go(func() { serve(n.server, l, n.opt.Logger) })
	n.wg.Go(n.attach)
	n.wg.Go(n.keepLease)
	return n, nil
}

// Addr is where the node serves rows.
func (n *Node) Addr() string { return n.addr }

// Link returns how the worker stands with its driver.
func (n *Node) Link() Link {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.link
}

// Changed returns a channel that is closed when Link changes next.
func (n *Node) Changed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.changed
}

// setLink has f change the link.
func (n *Node) setLink(f func(*Link)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.setLinkLocked(f)
}

func (n *Node) setLinkLocked(f func(*Link)) {
	f(&n.mu.link)
	close(n.mu.changed)
	n.mu.changed = make(chan struct{})
}

// Drain tells the driver whether the worker wants to leave, now and whenever it joins.
func (n *Node) Drain(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.draining = on
	if s := n.mu.session; s != nil {
		s.tell(&pb.Frame{Body: &pb.Frame_Status{Status: &pb.Status{Draining: on}}})
	}
}

// Send queues m for a node of the driver. It waits while too much is under way, and does
// not wait until m arrives. Without a session the other end is gone.
func (n *Node) Send(ctx context.Context, to transport.NodeID, m transport.Message) error {
	n.mu.Lock()
	s := n.mu.session
	n.mu.Unlock()
	if s == nil {
		return gone("send to", to, "no driver counts on this worker")
	}
	env, err := envelope(n.opt.ID, to, m)
	if err != nil {
		return err
	}
	if err := s.send(ctx, &pb.Frame{Body: &pb.Frame_Envelope{Envelope: env}}); err != nil {
		return fmt.Errorf("send to node %q: %w", to, err)
	}
	return nil
}

// Fetch reads rows that lie on another worker or on the driver. That there are none, too,
// is said by the first Next. A Next that is given up ends the reader.
func (n *Node) Fetch(ctx context.Context, from transport.NodeID, ref transport.StreamRef, alloc memory.Allocator) (sources.Reader, error) {
	return n.rows.fetch(ctx, from, ref, nil, alloc)
}

// FetchTasks is Fetch of several tasks, by one stream.
func (n *Node) FetchTasks(ctx context.Context, from transport.NodeID, ref transport.StreamRef, tasks []int, alloc memory.Allocator) (transport.TasksReader, error) {
	return n.rows.fetchTasks(ctx, from, ref, tasks, alloc)
}

// Close says goodbye to the driver, waits for what is under way and closes the inbox; what
// lies in it can still be read. Closing again does nothing.
func (n *Node) Close() error {
	n.mu.Lock()
	closed := n.mu.closed
	n.mu.closed = true
	n.mu.Unlock()
	if closed {
		return nil
	}
	n.cancel()
	n.rows.close()
	stop := n.opt.Clock.AfterFunc(closeWait, n.server.Stop)
	n.server.GracefulStop()
	stop()
	n.wg.Wait()
	n.Shut()
	return nil
}

// deliver puts a message of the driver into the inbox.
func (n *Node) deliver(p *pb.Envelope, stop <-chan struct{}) bool {
	if transport.NodeID(p.GetTo()) != n.opt.ID {
		n.opt.Logger.Error("a message is dropped", "from", p.GetFrom(), "to", p.GetTo(), "error", "it is for another node")
		return true
	}
	m, err := message(p)
	if err != nil {
		n.opt.Logger.Error("a message is dropped", "from", p.GetFrom(), "error", err)
		return true
	}
	env := transport.Envelope{From: transport.NodeID(p.GetFrom()), Message: m}
	if stop == nil {
		return n.Offer(env)
	}
	n.Put(env, stop, n.ctx.Done())
	return true
}
