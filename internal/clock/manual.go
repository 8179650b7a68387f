package clock

import (
	"container/heap"
	"sync"
	"time"
)

// Manual is a clock that moves only when it is told to. It may be used from
// several goroutines; advances are serialised, and an AfterFunc callback may
// register further ones, which the same advance runs if they are due. A
// callback must not advance the clock itself.
type Manual struct {
	advancing sync.Mutex // held for a whole advance, so that callbacks run in order

	state struct {
		sync.Mutex
		now    time.Time
		seq    uint64 // number of the next registration: the second sort key
		timers timerHeap
	}
}

var _ Clock = (*Manual)(nil)

// NewManual returns a clock that stands at start.
func NewManual(start time.Time) *Manual {
	m := &Manual{}
	m.state.now = start
	return m
}

// Now returns the time that the clock stands at.
func (m *Manual) Now() time.Time {
	m.state.Lock()
	defer m.state.Unlock()
	return m.state.now
}

// AfterFunc registers f. A duration of zero or less is due at the next advance,
// however short, and never at once: the caller may hold a lock that f takes.
func (m *Manual) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	m.state.Lock()
	defer m.state.Unlock()
	t := &timer{at: m.state.now.Add(max(d, 0)), seq: m.state.seq, f: f}
	m.state.seq++
	heap.Push(&m.state.timers, t)
	return func() bool { return m.remove(t) }
}

// Advance moves the clock by d, which must not be negative, and runs what
// became due before it returns.
func (m *Manual) Advance(d time.Duration) {
	m.advancing.Lock()
	defer m.advancing.Unlock()
	m.advanceTo(m.Now().Add(max(d, 0)))
}

// AdvanceTo moves the clock to t and runs what became due before it returns. A
// time in the past leaves the clock where it is.
func (m *Manual) AdvanceTo(t time.Time) {
	m.advancing.Lock()
	defer m.advancing.Unlock()
	m.advanceTo(t)
}

// Next returns when the earliest registered function is due; ok is false when
// there is none. A simulator advances to it when nothing else can happen.
func (m *Manual) Next() (at time.Time, ok bool) {
	m.state.Lock()
	defer m.state.Unlock()
	if len(m.state.timers) == 0 {
		return time.Time{}, false
	}
	return m.state.timers[0].at, true
}

// Pending returns how many functions wait: zero at the end of a test shows
// that everything was stopped.
func (m *Manual) Pending() int {
	m.state.Lock()
	defer m.state.Unlock()
	return len(m.state.timers)
}

// advanceTo runs the due functions one by one, each at its own time and
// without the state's lock, then comes to rest at end.
func (m *Manual) advanceTo(end time.Time) {
	for {
		t := m.popDue(end)
		if t == nil {
			return
		}
		t.f()
	}
}

// popDue takes the earliest timer at or before end and sets the clock to it.
// With none left it sets the clock to end and returns nil.
func (m *Manual) popDue(end time.Time) *timer {
	m.state.Lock()
	defer m.state.Unlock()
	s := &m.state
	if len(s.timers) > 0 && !s.timers[0].at.After(end) {
		t, _ := heap.Pop(&s.timers).(*timer)
		if t.at.After(s.now) {
			s.now = t.at
		}
		return t
	}
	if end.After(s.now) {
		s.now = end
	}
	return nil
}

func (m *Manual) remove(t *timer) bool {
	m.state.Lock()
	defer m.state.Unlock()
	if t.index < 0 {
		return false
	}
	heap.Remove(&m.state.timers, t.index)
	return true
}

type timer struct {
	at    time.Time
	seq   uint64
	f     func()
	index int // in the heap; -1 once taken out
}

// timerHeap orders by time, then by registration.
type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].seq < h[j].seq
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *timerHeap) Push(x any) {
	t, ok := x.(*timer)
	if !ok {
		return
	}
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	t.index = -1
	*h = old[:len(old)-1]
	return t
}
