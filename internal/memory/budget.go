package memory

import (
	"slices"
	"sync"
	"sync/atomic"
)

// pressurePercent is the part of a limit above which UnderPressure is true. The
// rest is head-room for what is allocated until operators have spilled: one
// record batch each.
const pressurePercent = 80

// processName names the whole in errors.
const processName = "process"

// spillRounds bounds how often a request asks others to spill before it is refused.
const spillRounds = 3

// Budget is the root of a tree of trackers: the memory of the process.
type Budget struct {
	Tracker // the root level; its methods take from the process directly
}

// NewBudget returns a budget of limitBytes; zero or less means no limit.
func NewBudget(limitBytes int64) *Budget {
	b := &Budget{}
	b.name = processName
	b.limit.Store(max(limitBytes, 0))
	return b
}

// Tracker counts the memory of one user: a query, a task, an operator. All its
// methods may be called from several goroutines.
type Tracker struct {
	name   string
	parent *Tracker // nil at the root
	limit  atomic.Int64
	used   atomic.Int64
	peak   atomic.Int64
	// refused and spills count what happened when this level was full.
	refused atomic.Int64
	spills  atomic.Int64
	closed  atomic.Bool

	tree struct {
		sync.Mutex
		children []*Tracker
		spillers []*spiller
	}
}

// spiller is identified by its address, so that cancel finds it.
type spiller struct {
	f func(needBytes int64) (freedBytes int64)
}

// Child opens a tracker below t. A limit of zero or less means none of its own.
func (t *Tracker) Child(name string, limitBytes int64) *Tracker {
	c := &Tracker{name: name, parent: t}
	c.limit.Store(max(limitBytes, 0))
	t.tree.Lock()
	defer t.tree.Unlock()
	t.tree.children = append(t.tree.children, c)
	return c
}

// Path names the tracker and those above it, without the process.
func (t *Tracker) Path() string {
	if t.parent == nil {
		return t.name
	}
	if t.parent.parent == nil {
		return t.name
	}
	return t.parent.Path() + "/" + t.name
}

// Used returns the bytes in use.
func (t *Tracker) Used() int64 { return t.used.Load() }

// Peak returns the most bytes that were in use at once.
func (t *Tracker) Peak() int64 { return t.peak.Load() }

// Limit returns the tracker's own limit, 0 for none.
func (t *Tracker) Limit() int64 { return t.limit.Load() }

// UnderPressure reports whether t or a level above it has used most of its
// limit. Operators with state ask between two record batches and spill when it
// is true.
func (t *Tracker) UnderPressure() bool {
	for l := t; l != nil; l = l.parent {
		if limit := l.limit.Load(); limit > 0 && l.used.Load() > limit/100*pressurePercent {
			return true
		}
	}
	return false
}

// Reserve takes n bytes, or returns a *LimitError that says whose limit is in
// the way. Nothing is taken on an error.
func (t *Tracker) Reserve(n int64) error {
	if n <= 0 {
		return nil
	}
	full := t.take(n)
	for round := 0; full != nil && round < spillRounds; round++ {
		freed := full.askToSpill(n)
		before := full
		// One more try even if nobody freed anything: another goroutine may have.
		if full = t.take(n); freed == 0 && full == before {
			break
		}
	}
	if full != nil {
		full.refused.Add(1)
		return &LimitError{Asked: n, InUse: full.used.Load(), Limit: full.limit.Load(), Scope: full.Path(), By: t.Path()}
	}
	if t.closed.Load() {
		t.Release(n)
		return &closedError{path: t.Path()}
	}
	return nil
}

// Release gives n bytes back. More than is in use counts as all that is: after
// Close that is nothing.
func (t *Tracker) Release(n int64) {
	for l := t; l != nil && n > 0; l = l.parent {
		n = l.sub(n)
	}
}

// OnSpill registers f to be asked for needBytes before a request below the same
// limit is refused. f returns what it has released by the time it returns, or
// 0 after merely noting the wish. It is called on the goroutine of whoever asked for
// memory, maybe on several at once: it must not block, and must not take memory
// or a lock under which memory is taken. cancel ends the registration; a call
// that had begun may still come to its end after it.
func (t *Tracker) OnSpill(f func(needBytes int64) (freedBytes int64)) (cancel func()) {
	s := &spiller{f: f}
	t.tree.Lock()
	defer t.tree.Unlock()
	t.tree.spillers = append(t.tree.spillers, s)
	return func() {
		t.tree.Lock()
		defer t.tree.Unlock()
		t.tree.spillers = slices.DeleteFunc(t.tree.spillers, func(o *spiller) bool { return o == s })
	}
}

// Close ends the tracker and those below it, and gives back what they still
// hold. It may be called twice.
func (t *Tracker) Close() {
	t.closed.Store(true)
	t.tree.Lock()
	children := t.tree.children
	t.tree.children, t.tree.spillers = nil, nil
	t.tree.Unlock()
	for _, c := range children {
		c.Close()
	}
	t.Release(t.used.Load())
	if p := t.parent; p != nil {
		p.tree.Lock()
		defer p.tree.Unlock()
		p.tree.children = slices.DeleteFunc(p.tree.children, func(o *Tracker) bool { return o == t })
	}
}

// take adds n at every level from t up. If a level is full it takes back what
// it added below and returns that level.
func (t *Tracker) take(n int64) (full *Tracker) {
	for l := t; l != nil; l = l.parent {
		if l.add(n) {
			continue
		}
		for undo := t; undo != l; undo = undo.parent {
			undo.sub(n)
		}
		return l
	}
	return nil
}

// add takes n at one level unless that would exceed its limit (Y1).
func (t *Tracker) add(n int64) bool {
	for {
		used, limit := t.used.Load(), t.limit.Load()
		if limit > 0 && n > limit-used {
			return false
		}
		if !t.used.CompareAndSwap(used, used+n) {
			continue
		}
		for peak := t.peak.Load(); used+n > peak; peak = t.peak.Load() {
			if t.peak.CompareAndSwap(peak, used+n) {
				break
			}
		}
		return true
	}
}

// sub gives back up to n at one level and returns how much that was, which is
// what the level above may give back too (Y3).
func (t *Tracker) sub(n int64) int64 {
	for {
		used := t.used.Load()
		m := min(n, used)
		if t.used.CompareAndSwap(used, used-m) {
			return m
		}
	}
}
