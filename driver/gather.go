package driver

import (
	"time"

	"github.com/sluice-stream/sluice/internal/transport"
)

// gathering keeps workers from being given a plan one by one that come in company, as to
// a new leader: a query would begin on the first one and move when the next one is there.
type gathering struct {
	missing  map[transport.NodeID]bool // nil: nobody is waited for
	number   int                       // of the gathering, for its timer
	patience time.Duration
	disarm   func() bool // of the timer that runs since the first one came; nil before
}

// Gather has the workers that come wait for each other: until all of these are there, but
// for no longer than patience after the first one. Nothing to wait for ends that.
func (m *Members) Gather(ids []transport.NodeID, patience time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gatheredLocked()
	m.mu.gather = gathering{missing: map[transport.NodeID]bool{}, number: m.mu.gather.number + 1, patience: patience}
	for _, id := range ids {
		m.mu.gather.missing[id] = true
	}
	for _, w := range m.mu.byID {
		if w.State == Joined {
			m.cameLocked(w.ID)
		}
	}
	if len(m.mu.gather.missing) == 0 {
		m.gatheredLocked()
	}
}

// cameLocked notes a worker that has come.
func (m *Members) cameLocked(id transport.NodeID) {
	g := &m.mu.gather
	if g.missing == nil {
		return
	}
	delete(g.missing, id)
	switch {
	case len(g.missing) == 0:
		m.gatheredLocked()
	case g.disarm == nil:
		number := g.number
		g.disarm = m.clock.AfterFunc(g.patience, func() { m.tired(number) })
	}
}

// tired ends a gathering that has taken too long.
func (m *Members) tired(number int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.gather.missing != nil && m.mu.gather.number == number {
		m.gatheredLocked()
		m.tellLocked()
	}
}

// gatheredLocked ends the gathering there is.
func (m *Members) gatheredLocked() {
	if m.mu.gather.disarm != nil {
		m.mu.gather.disarm()
	}
	m.mu.gather = gathering{number: m.mu.gather.number}
}
