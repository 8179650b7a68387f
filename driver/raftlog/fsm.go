package raftlog

import (
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// machine is the state machine as raft sees it.
type machine struct {
	fail func(error) // ends the node

	mu struct {
		sync.RWMutex
		state *state
		dead  error // an entry could not be read: nothing is applied any more
	}
}

var _ raft.FSM = (*machine)(nil)

func newMachine(fail func(error)) *machine {
	m := &machine{fail: fail}
	m.mu.state = newState()
	return m
}

// Apply carries out an entry. One that cannot be read must neither be passed over,
// which would make this replica differ from the others, nor block the node for ever
// without a word: the node ends by name (R4). Until it has ended raft may go on, but
// nothing is applied and no snapshot is taken.
func (m *machine) Apply(l *raft.Log) any {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.dead != nil {
		return outcome{err: m.mu.dead}
	}
	c, err := decodeCommand(l.Data)
	if err != nil {
		m.mu.dead = fmt.Errorf("entry %d of term %d of the replicated log: %w: %w", l.Index, l.Term, ErrDamaged, err)
		m.fail(m.mu.dead)
		return outcome{err: m.mu.dead}
	}
	return m.mu.state.apply(l.Term, c)
}

// Snapshot takes the state as it is; writing it down goes on beside Apply.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.mu.dead != nil {
		return nil, m.mu.dead
	}
	return picture{m.mu.state.clone()}, nil
}

// Restore replaces the state by that of a snapshot, or leaves it as it is.
func (m *machine) Restore(r io.ReadCloser) error {
	s, err := readImage(r)
	if err != nil {
		return fmt.Errorf("read the state of a snapshot: %w: %w", ErrDamaged, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.state = s
	return nil
}

// read lets look at the state. What is handed out of it is never changed.
func (m *machine) read(look func(*state)) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	look(m.mu.state)
}

// picture is a state that is being written down.
type picture struct{ state *state }

// Persist writes it into a snapshot.
func (p picture) Persist(sink raft.SnapshotSink) error {
	if err := p.state.writeImage(sink); err != nil {
		_ = sink.Cancel() // the first error is what matters
		return fmt.Errorf("write the state into snapshot %s: %w", sink.ID(), err)
	}
	return sink.Close()
}

// Release has nothing to give back.
func (picture) Release() {}
