package wire

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/transport"
)

// Hub is the driver's end: workers join it, and each query of the driver is a node of its
// own behind it.
type Hub struct {
	opt    Options
	number uint64 // of this hub among all that there ever were
	addr   string
	server *grpc.Server
	rows   *rows
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu struct {
		sync.Mutex
		members  map[transport.NodeID]*member
		runs     map[transport.NodeID]chan struct{} // closed when all of a node's last session was handed on
		sessions uint64
		changed  chan struct{}
		away     *Redirect     // set: workers are sent there
		settled  chan struct{} // closed when away changes
		closed   bool
	}

	// ends has a lock of its own, which is taken below that of a session.
	ends struct {
		sync.RWMutex
		byID map[transport.NodeID]*Endpoint
	}
}

// Listen opens the driver's end. It serves until Close.
func Listen(ctx context.Context, opt Options) (*Hub, error) {
	if err := opt.Validate(); err != nil {
		return nil, fmt.Errorf("the driver's end of the network: %w", err)
	}
	opt = opt.withDefaults()
	l, addr, err := opt.listen(ctx)
	if err != nil {
		return nil, err
	}
	var number [8]byte
	if _, err := rand.Read(number[:]); err != nil {
		return nil, errors.Join(fmt.Errorf("draw a number for the driver: %w", err), l.Close())
	}
	h := &Hub{opt: opt, number: binary.LittleEndian.Uint64(number[:]) | 1, addr: addr}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.mu.members, h.mu.runs = map[transport.NodeID]*member{}, map[transport.NodeID]chan struct{}{}
	h.mu.changed, h.mu.settled = make(chan struct{}), make(chan struct{})
	h.ends.byID = map[transport.NodeID]*Endpoint{}
	h.rows = newRows(&h.opt, func(id transport.NodeID) Serve {
		if e := h.end(id); e != nil {
			return e.Serving()
		}
		return nil
	})
	h.server = newServer(&h.opt, h.rows, h.control)
	h.wg.Go(func() { serve(h.server, l, h.opt.Logger) })
	h.wg.Go(h.watchLeases)
	return h, nil
}

func serve(s *grpc.Server, l net.Listener, log logger) {
	if err := s.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		log.Error("the listener has failed", "address", l.Addr().String(), "error", err)
	}
}

// Addr is where workers and others reach the hub.
func (h *Hub) Addr() string { return h.addr }

// Join adds a node of this process, such as a query, that workers are sent messages by. A
// name that is taken is refused until its node is closed.
func (h *Hub) Join(id transport.NodeID) (*Endpoint, error) {
	h.ends.Lock()
	defer h.ends.Unlock()
	switch {
	case h.ctx.Err() != nil:
		return nil, fmt.Errorf("join the network as %q: it is closed", id)
	case h.ends.byID[id] != nil:
		return nil, fmt.Errorf("join the network as %q: the name is taken", id)
	}
	e := &Endpoint{Port: transport.NewPort(id, h.opt.InboxMax), hub: h}
	h.ends.byID[id] = e
	return e, nil
}

func (h *Hub) end(id transport.NodeID) *Endpoint {
	h.ends.RLock()
	defer h.ends.RUnlock()
	return h.ends.byID[id]
}

// watchLeases takes those for lost who have not been heard of for a lease.
func (h *Hub) watchLeases() {
	for clock.Wait(h.ctx, h.opt.Clock, h.opt.Heartbeat/2) == nil {
		now := h.opt.Clock.Now()
		h.mu.Lock()
		var lost []*member
		for _, m := range h.mu.members {
			if now.Sub(m.heardAt()) > h.opt.Lease {
				lost = append(lost, m)
			}
		}
		h.mu.Unlock()
		for _, m := range lost {
			h.lose(m, fmt.Sprintf("nothing was heard of it for %s", h.opt.Lease))
		}
	}
}

// Dismiss sends all workers to the driver at to, and those that come from now on; "" lets
// them look for it. While nobody is known to lead, a worker that comes is kept waiting for
// a moment. Serving rows goes on. Recall ends it.
func (h *Hub) Dismiss(to string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.settledLocked()
	h.mu.away = &Redirect{To: to}
	for _, m := range h.membersLocked() {
		h.loseLocked(m, "this driver does not lead any more")
	}
}

// Recall ends Dismiss.
func (h *Hub) Recall() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.settledLocked()
	h.mu.away = nil
}

// settledLocked lets those look again who wait to hear who leads.
func (h *Hub) settledLocked() {
	close(h.mu.settled)
	h.mu.settled = make(chan struct{})
}

// leaderless returns a channel to wait on before a worker is told that nobody leads; nil
// if somebody does. What then comes is often this driver's own turn.
func (h *Hub) leaderless() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.away == nil || h.mu.away.To != "" || h.mu.closed {
		return nil
	}
	return h.mu.settled
}

// awaitLeader keeps a worker that comes while nobody leads until somebody does, so that
// it need not come again, but not for longer than HoldMax.
func (h *Hub) awaitLeader(ctx context.Context) {
	var over <-chan struct{}
	for {
		settled := h.leaderless()
		if settled == nil {
			return
		}
		if over == nil {
			held, cancel := context.WithCancel(ctx)
			defer cancel()
			defer h.opt.Clock.AfterFunc(h.opt.HoldMax, cancel)()
			over = held.Done()
		}
		select {
		case <-settled:
		case <-over:
			return
		case <-h.ctx.Done():
			return
		}
	}
}

// closeWait is how long connections may take to end in good order.
const closeWait = 2 * time.Second

// Close says goodbye to all workers, closes all endpoints and waits for what is under way.
func (h *Hub) Close() error {
	h.mu.Lock()
	closed := h.mu.closed
	h.mu.closed = true
	h.settledLocked()
	for _, m := range h.membersLocked() {
		h.loseLocked(m, "the driver is closed")
	}
	h.mu.Unlock()
	if closed {
		return nil
	}
	h.rows.close()
	stop := h.opt.Clock.AfterFunc(closeWait, h.server.Stop)
	h.server.GracefulStop()
	stop()
	h.cancel()
	h.ends.RLock()
	ends := make([]*Endpoint, 0, len(h.ends.byID))
	for _, e := range h.ends.byID {
		ends = append(ends, e)
	}
	h.ends.RUnlock()
	for _, e := range ends {
		_ = e.Close() // cannot fail
	}
	h.wg.Wait()
	return nil
}
