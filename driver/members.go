package driver

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/transport"
)

// MemberState is where a worker of a cluster stands.
type MemberState string

// The states of a worker.
const (
	// Joined workers are given tasks.
	Joined MemberState = "joined"
	// Draining workers finish what they have and are given nothing new.
	Draining MemberState = "draining"
	// Lost workers have not been heard of for a lease, or their process has ended.
	Lost MemberState = "lost"
)

// Member is a worker of a cluster.
type Member struct {
	ID transport.NodeID `json:"id"`
	// Run tells one process of a worker from the next under the same ID: what the one
	// held is gone with it.
	Run     string      `json:"run"`
	Address string      `json:"address,omitempty"` // where others read its rows
	Slots   int         `json:"slots"`
	Memory  int64       `json:"memoryBytes,omitempty"`
	Version string      `json:"version,omitempty"` // of its program
	State   MemberState `json:"state"`
	Since   time.Time   `json:"since"` // of the state
}

// Members knows the workers of a cluster. Whoever holds their leases tells it who
// has come and gone; queries watch it. Its methods may be called from several
// goroutines.
type Members struct {
	clock     clock.Clock
	admission *Admission
	mu        struct {
		sync.Mutex
		byID     map[transport.NodeID]Member
		watchers map[*watch]struct{}
		gather   gathering
	}
}

// watch wakes a query.
type watch struct{ moved chan struct{} }

// NewMembers makes a list without a member. c dates what happens; nil is the machine's.
func NewMembers(c clock.Clock) *Members {
	if c == nil {
		c = clock.System()
	}
	m := &Members{clock: c}
	m.mu.byID, m.mu.watchers = map[transport.NodeID]Member{}, map[*watch]struct{}{}
	m.admission = NewAdmission(0, m.memory)
	return m
}

// Admission says when queries begin that share the workers.
func (m *Members) Admission() *Admission { return m.admission }

// memory is what each of the workers has that are given tasks.
func (m *Members) memory() (out []int64) {
	for _, w := range m.usable() {
		if w.Memory <= 0 {
			w.Memory = math.MaxInt64 // it has no limit
		}
		out = append(out, w.Memory)
	}
	return out
}

// Join takes a worker in. Another Run under the ID of a member takes its place, and
// what the member held is lost.
func (m *Members) Join(w Member) {
	w.Slots = max(w.Slots, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.setLocked(w, Joined)
}

// Drain says that a worker is to be given nothing new. It stays what it was if the
// worker is another one by now, or is lost.
func (m *Members) Drain(id transport.NodeID, run string) { m.move(id, run, Draining) }

// Lose says that a worker has not been heard of for its lease, or has left.
func (m *Members) Lose(id transport.NodeID, run string) { m.move(id, run, Lost) }

func (m *Members) move(id transport.NodeID, run string, to MemberState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w, ok := m.mu.byID[id]; ok && w.Run == run && w.State != to && w.State != Lost {
		m.setLocked(w, to)
	}
}

func (m *Members) setLocked(w Member, to MemberState) {
	w.State, w.Since = to, m.clock.Now()
	m.mu.byID[w.ID] = w
	m.forgetLocked()
	if to == Joined {
		m.cameLocked(w.ID)
	}
	m.tellLocked()
}

// tellLocked wakes who watches.
func (m *Members) tellLocked() {
	for o := range m.mu.watchers {
		select {
		case o.moved <- struct{}{}:
		default:
		}
	}
}

// lostMax is how many lost workers are remembered, for who asks what became of them.
const lostMax = 100

// forgetLocked forgets those that were lost the longest ago.
func (m *Members) forgetLocked() {
	var lost []Member
	for _, w := range m.mu.byID {
		if w.State == Lost {
			lost = append(lost, w)
		}
	}
	if len(lost) <= lostMax {
		return
	}
	slices.SortFunc(lost, func(a, b Member) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID)) })
	for _, w := range lost[:len(lost)-lostMax] {
		delete(m.mu.byID, w.ID)
	}
}

// List returns all members by ID, those that were lost not long ago included.
func (m *Members) List() []Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Member, 0, len(m.mu.byID))
	for _, w := range m.mu.byID {
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// usable returns those that are given tasks, by ID; nobody while they gather.
func (m *Members) usable() []Member {
	m.mu.Lock()
	gathers := m.mu.gather.missing != nil
	m.mu.Unlock()
	if gathers {
		return nil
	}
	return slices.DeleteFunc(m.List(), func(w Member) bool { return w.State != Joined })
}

// watch returns a channel that has a value when something has changed.
func (m *Members) watch() (moved <-chan struct{}, stop func()) {
	w := &watch{moved: make(chan struct{}, 1)}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.watchers[w] = struct{}{}
	return w.moved, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.mu.watchers, w)
	}
}
