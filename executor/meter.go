package executor

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// Measure says whether the next runs of the task also measure what each operator
// holds and spills. It costs a few atomic additions for each buffer.
func (t *Task) Measure(on bool) {
	for _, w := range t.ops {
		if w.meter = nil; on {
			w.meter = &meter{}
		}
	}
}

// measured reports whether Measure is on.
func (t *Task) measured() bool { return len(t.ops) > 0 && t.ops[0].meter != nil }

// meter counts the memory of one operator: it stands between the operator and
// the task's allocator and budget. What an operator hands on counts here until
// whoever took it releases it.
type meter struct {
	alloc  memory.Allocator
	charge func(n int64) error

	used, peak, spilled atomic.Int64
	notes               struct {
		sync.Mutex
		values map[string]int64
	}
}

var (
	_ memory.Allocator = (*meter)(nil)
	_ vec.Charger      = (*meter)(nil)
)

// open returns the context of an operator. An operator opens its inputs with its
// own context, so what is there of another meter is taken away first.
func (m *meter) open(tc *TaskContext) *TaskContext {
	c := *tc
	if outer, ok := tc.Alloc.(*meter); ok {
		c.Alloc, c.Charge = outer.alloc, outer.charge
	}
	m.alloc, m.charge = c.Alloc, c.Charge
	m.peak.Store(m.used.Load())
	m.spilled.Store(0)
	m.notes.Lock()
	m.notes.values = nil
	m.notes.Unlock()
	c.Alloc = m
	if m.charge != nil {
		c.Charge = m.take
	}
	return &c
}

func (m *meter) Allocate(size int) []byte {
	b := m.alloc.Allocate(size)
	m.add(int64(size))
	return b
}

func (m *meter) Reallocate(size int, b []byte) []byte {
	old := len(b)
	out := m.alloc.Reallocate(size, b)
	m.add(int64(size - old))
	return out
}

func (m *meter) Free(b []byte) {
	n := len(b)
	m.alloc.Free(b)
	m.used.Add(-int64(n))
}

func (m *meter) take(n int64) error {
	if err := m.charge(n); err != nil {
		return err
	}
	m.add(n)
	return nil
}

func (m *meter) add(n int64) {
	used := m.used.Add(n)
	for peak := m.peak.Load(); used > peak; peak = m.peak.Load() {
		if m.peak.CompareAndSwap(peak, used) {
			return
		}
	}
}

// Charge counts memory that is not the allocator's, see vec.Charger.
func (m *meter) Charge(n int64) {
	if c, ok := m.alloc.(vec.Charger); ok {
		c.Charge(n)
		m.add(n)
	}
}

// Spilled is told by files of spilled batches (exchange.File) what they took.
func (m *meter) Spilled(n int64) { m.spilled.Add(n) }

// Note adds to a figure of the operator whose context this is, for EXPLAIN
// ANALYZE. Where nobody measures it does nothing.
func (tc *TaskContext) Note(name string, n int64) {
	m, ok := tc.Alloc.(*meter)
	if !ok {
		return
	}
	m.notes.Lock()
	defer m.notes.Unlock()
	if m.notes.values == nil {
		m.notes.values = map[string]int64{}
	}
	m.notes.values[name] += n
}

// read adds what was measured to an operator's figures.
func (m *meter) read(s batch.OpCount) batch.OpCount {
	s.Memory, s.Spilled = m.peak.Load(), m.spilled.Load()
	m.notes.Lock()
	defer m.notes.Unlock()
	s.Notes = nil
	for name, v := range m.notes.values {
		s.Notes = append(s.Notes, batch.OpNote{Name: name, Value: v})
	}
	slices.SortFunc(s.Notes, func(a, b batch.OpNote) int { return cmp.Compare(a.Name, b.Name) })
	return s
}
