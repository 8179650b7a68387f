//go:build synctests

package lock

import (
	"sync"

	"github.com/sluice-stream/sluice/internal/invariants"
)

// Mutex is a mutex that may be held while its holder waits, also in a bubble.
type Mutex struct {
	once  sync.Once
	token chan struct{} // in it while somebody holds the mutex
}

func (m *Mutex) init() { m.once.Do(func() { m.token = make(chan struct{}, 1) }) }

// Lock takes the mutex, and waits while somebody has it.
func (m *Mutex) Lock() {
	m.init()
	m.token <- struct{}{}
}

// TryLock takes the mutex if nobody has it.
func (m *Mutex) TryLock() bool {
	m.init()
	select {
	case m.token <- struct{}{}:
		return true
	default:
		return false
	}
}

// Unlock gives the mutex back.
func (m *Mutex) Unlock() {
	m.init()
	held := true
	select {
	case <-m.token:
	default:
		held = false
	}
	invariants.Assert(held, "a mutex is given back that nobody holds")
}
