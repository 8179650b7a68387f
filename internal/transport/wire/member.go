package wire

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/transport"
	pb "github.com/sluice-stream/sluice/internal/transport/wire/wirepb"
)

// Member is a worker that has joined.
type Member struct {
	ID          transport.NodeID
	Session     uint64 // a worker that was lost and comes again has another one
	Incarnation uint64 // of its process
	Addr        string // where it serves rows
	Resources   Resources
	Draining    bool // it wants to leave: nothing new should be given to it
	// TLS is what it has shown itself with; nil without TLS.
	TLS *tls.ConnectionState
}

// member is a worker whose session has not ended, attached or not.
type member struct {
	session *session

	mu struct {
		sync.Mutex
		info  Member
		heard time.Time
	}
}

func (m *member) info() Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.info
}

func (m *member) heardAt() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.heard
}

func (m *member) hear(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.heard = now
}

// Change says what has become of a member.
type Change int

// What becomes of members.
const (
	Joined Change = iota
	Draining
	Lost
)

// String names the change.
func (c Change) String() string { return [...]string{"joined", "draining", "lost"}[c%3] }

// Event tells of a change.
type Event struct {
	Change Change
	Member Member
}

// Members returns who has joined and is not lost, by ID.
func (h *Hub) Members() []Member {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]Member, 0, len(h.mu.members))
	for _, m := range h.membersLocked() {
		out = append(out, m.info())
	}
	return out
}

func (h *Hub) membersLocked() []*member {
	out := make([]*member, 0, len(h.mu.members))
	for _, m := range h.mu.members {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *member) int { return cmp.Compare(a.info().ID, b.info().ID) })
	return out
}

// Changed returns a channel that is closed when Members changes next.
func (h *Hub) Changed() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.changed
}

func (h *Hub) changedLocked() {
	close(h.mu.changed)
	h.mu.changed = make(chan struct{})
}

// Watch calls f for everybody who has joined, and then for each change, until ctx is done
// or the hub is closed. What changes while f runs is told together: of a worker that came
// and went meanwhile nothing is told, of one that was lost and came again both are.
func (h *Hub) Watch(ctx context.Context, f func(Event)) {
	var known []Member
	for {
		changed := h.Changed()
		now := h.Members()
		for _, e := range differences(known, now) {
			f(e)
		}
		known = now
		select {
		case <-changed:
		case <-ctx.Done():
			return
		case <-h.ctx.Done():
			return
		}
	}
}

// differences lists first who was lost, then who joined, then who drains.
func differences(before, after []Member) []Event {
	find := func(list []Member, m Member) (Member, bool) {
		i := slices.IndexFunc(list, func(o Member) bool { return o.ID == m.ID && o.Session == m.Session })
		if i < 0 {
			return Member{}, false
		}
		return list[i], true
	}
	var lost, joined, draining []Event
	for _, m := range before {
		if _, ok := find(after, m); !ok {
			lost = append(lost, Event{Lost, m})
		}
	}
	for _, m := range after {
		old, ok := find(before, m)
		if !ok {
			joined = append(joined, Event{Joined, m})
		}
		if m.Draining && !old.Draining {
			draining = append(draining, Event{Draining, m})
		}
	}
	return slices.Concat(lost, joined, draining)
}

// Limits of what a worker says of itself: every other member and every log line has it.
const (
	nameMax  = 512
	slotsMax = 1 << 16
)

// admit gives a worker that says hello a session: its old one if that goes on.
func (h *Hub) admit(hello *pb.Hello, c Caller) (m *member, stream uint64, resumed bool, err error) {
	info := Member{
		ID: transport.NodeID(hello.GetNode()), Incarnation: hello.GetIncarnation(), Addr: hello.GetAddress(), Draining: hello.GetDraining(), TLS: c.TLS,
		Resources: Resources{Slots: int(hello.GetSlots()), Memory: hello.GetMemory(), Version: hello.GetVersion()},
	}
	if p := hello.GetProtocol(); p != Protocol {
		return nil, 0, false, batch.UserErrorf("worker %s speaks version %d of the protocol, this driver speaks %d: run builds of one release", info.ID, p, Protocol)
	}
	if info.ID == "" || len(info.ID) > nameMax || info.Addr == "" || len(info.Addr) > nameMax || len(info.Resources.Version) > nameMax || h.end(info.ID) != nil {
		return nil, 0, false, batch.UserErrorf("a worker cannot be called %.64q at address %.64q", info.ID, info.Addr)
	}
	if info.Resources.Slots < 0 || info.Resources.Slots > slotsMax || info.Resources.Memory < 0 {
		return nil, 0, false, batch.UserErrorf("worker %s says that it has %d slots and %d bytes of memory", info.ID, info.Resources.Slots, info.Resources.Memory)
	}
	if h.opt.Admit != nil {
		if err := h.opt.Admit(info); err != nil {
			if away := new(Redirect); h.opt.Refused != nil && c.Addr != nil && !errors.As(err, &away) {
				h.opt.Refused(c.Addr, err)
			}
			return nil, 0, false, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.mu.closed:
		return nil, 0, false, errors.New("the driver is closed")
	case h.mu.away != nil:
		return nil, 0, false, h.mu.away
	}
	if old := h.mu.members[info.ID]; old != nil {
		was := old.info()
		switch {
		case was.Incarnation > info.Incarnation:
			return nil, 0, false, batch.UserErrorf("a newer process is worker %s already", info.ID)
		case hello.GetHub() == h.number && hello.GetSession() == was.Session && was.Incarnation == info.Incarnation:
			if stream, ok := old.session.attach(hello.GetReceived()); ok {
				h.freshenLocked(old, info)
				return old, stream, true, nil
			}
		}
		h.loseLocked(old, "it began anew")
	}
	m = h.joinLocked(info)
	stream, _ = m.session.attach(0)
	return m, stream, false, nil
}

// freshenLocked notes what may have changed of a worker that is attached again.
func (h *Hub) freshenLocked(m *member, now Member) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.heard = h.opt.Clock.Now()
	now.Session = m.mu.info.Session
	if m.mu.info.Draining != now.Draining || m.mu.info.Addr != now.Addr {
		defer h.changedLocked()
	}
	m.mu.info = now
}

// joinLocked begins a session. Others learn where the worker is before it is seen (X5).
func (h *Hub) joinLocked(info Member) *member {
	h.mu.sessions++
	info.Session = h.mu.sessions
	m := &member{}
	m.session = newSession(info.Session, &h.opt, func(e *pb.Envelope, stop <-chan struct{}) bool { return h.deliver(info.ID, e, stop) })
	m.mu.info, m.mu.heard = info, h.opt.Clock.Now()
	all := &pb.Peers{All: true}
	for _, o := range h.membersLocked() {
		i := o.info()
		all.Peers = append(all.Peers, &pb.Peer{Node: string(i.ID), Address: i.Addr})
	}
	me := &pb.Peer{Node: string(info.ID), Address: info.Addr}
	all.Peers = append(all.Peers, me)
	m.session.tell(&pb.Frame{Body: &pb.Frame_Peers{Peers: all}})
	h.broadcastLocked(&pb.Peers{Peers: []*pb.Peer{me}})
	h.mu.members[info.ID] = m
	before, done := h.mu.runs[info.ID], make(chan struct{})
	h.mu.runs[info.ID] = done
	h.changedLocked()
	h.wg.Go(func() { h.run(m, before, done) })
	h.opt.Logger.Info("worker joined", "worker", string(info.ID), "address", info.Addr, "slots", info.Resources.Slots, "version", info.Resources.Version)
	return m
}

// run hands on what a worker says, and at last that it is lost, behind all that is to be
// handed on of its session before.
func (h *Hub) run(m *member, before <-chan struct{}, done chan struct{}) {
	defer func() {
		close(done)
		h.mu.Lock()
		defer h.mu.Unlock()
		if id := m.info().ID; h.mu.runs[id] == done {
			delete(h.mu.runs, id)
		}
	}()
	if before != nil {
		<-before
	}
	m.session.run()
	h.ends.RLock()
	ends := make([]*Endpoint, 0, len(h.ends.byID))
	for _, e := range h.ends.byID {
		ends = append(ends, e)
	}
	h.ends.RUnlock()
	env := transport.Envelope{From: m.info().ID, Message: transport.Lost{Reason: m.session.reason().Error()}}
	for _, e := range ends {
		e.Put(env, h.ctx.Done(), nil)
	}
}

// broadcastLocked tells all members where others are. One that takes nothing in any more
// is lost.
func (h *Hub) broadcastLocked(p *pb.Peers) {
	h.rows.update(p)
	for _, o := range h.membersLocked() {
		if !o.session.tell(&pb.Frame{Body: &pb.Frame_Peers{Peers: p}}) {
			h.loseLocked(o, "it takes nothing in")
		}
	}
}

func (h *Hub) lose(m *member, why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.loseLocked(m, why)
}

// loseLocked ends a worker's session.
func (h *Hub) loseLocked(m *member, why string) {
	info := m.info()
	if !m.session.end(gone("reach", info.ID, why)) {
		return
	}
	delete(h.mu.members, info.ID)
	h.changedLocked()
	h.opt.Logger.Info("worker lost", "worker", string(info.ID), "address", info.Addr, "reason", why)
	h.broadcastLocked(&pb.Peers{Gone: []string{string(info.ID)}})
}

// The pauses between looks whether a worker whose stream broke is still there.
const (
	probeFirst = 10 * time.Millisecond
	probeMax   = 500 * time.Millisecond
)

// probe looks after a worker whose stream broke. That nobody listens at its address
// is proof that its process has ended, long before its lease has.
func (h *Hub) probe(m *member, stream uint64) {
	for pause := probeFirst; ; pause = min(2*pause, probeMax) {
		if clock.Wait(h.ctx, h.opt.Clock, pause) != nil || !m.session.idle(stream) {
			return
		}
		ctx, cancel := context.WithCancel(h.ctx)
		stop := h.opt.Clock.AfterFunc(h.opt.Handshake, cancel)
		c, err := h.opt.dial(ctx, m.info().Addr)
		stop()
		cancel()
		if err == nil {
			_ = c.Close() // nothing was said on it
			continue
		}
		if errors.Is(err, syscall.ECONNREFUSED) && m.session.idle(stream) {
			h.lose(m, fmt.Sprintf("nobody listens at %s any more", m.info().Addr))
			return
		}
	}
}
