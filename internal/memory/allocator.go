package memory

import arrow "github.com/apache/arrow-go/v18/arrow/memory"

// Allocator returns an Arrow allocator that takes from t, over base or, if base is
// nil, Arrow's own for Go. It panics with a *LimitError when the limit is
// reached: defer Catch where the task begins.
func (t *Tracker) Allocator(base arrow.Allocator) arrow.Allocator {
	if base == nil {
		base = arrow.DefaultAllocator
	}
	if s, ok := base.(Sizer); ok {
		a := &sizedAllocator{tracker: t, base: base, sizer: s}
		if u, ok := base.(unclearing); ok {
			a.uncleared = &sizedAllocator{tracker: t, base: u.Uncleared(), sizer: s}
		}
		return a
	}
	return &allocator{tracker: t, base: base}
}

// Sizer is an allocator whose buffers take more than was asked for: the capacity
// of the slices that it returns, which Size tells beforehand.
type Sizer interface{ Size(n int) int }

// unclearing is an allocator that clears its buffers, and another one of the same that
// does not.
type unclearing interface{ Uncleared() arrow.Allocator }

// Uncleared returns an allocator of the same memory whose buffers may hold anything at
// first, for those that are filled whole at once: to clear them is a pass over memory that
// is out of the processor's caches. Of one that knows no such it is that itself.
func Uncleared(a arrow.Allocator) arrow.Allocator {
	if u, ok := a.(unclearing); ok {
		return u.Uncleared()
	}
	return a
}

// sizedAllocator counts the capacity of buffers.
type sizedAllocator struct {
	tracker   *Tracker
	base      arrow.Allocator
	sizer     Sizer
	uncleared *sizedAllocator // nil if base knows none
}

// Uncleared is of unclearing.
func (a *sizedAllocator) Uncleared() arrow.Allocator {
	if a.uncleared == nil {
		return a
	}
	return a.uncleared
}

var _ arrow.Allocator = (*sizedAllocator)(nil)

func (a *sizedAllocator) Allocate(size int) []byte {
	take(a.tracker, a.sizer.Size(size))
	return a.base.Allocate(size)
}

// Reallocate takes the whole new buffer before it gives the old one back: they are
// there together while one is copied.
func (a *sizedAllocator) Reallocate(size int, b []byte) []byte {
	if size <= cap(b) {
		return a.base.Reallocate(size, b)
	}
	old := cap(b)
	take(a.tracker, a.sizer.Size(size))
	out := a.base.Reallocate(size, b)
	a.tracker.Release(int64(old))
	return out
}

func (a *sizedAllocator) Free(b []byte) {
	n := cap(b)
	a.base.Free(b)
	a.tracker.Release(int64(n))
}

// Charge counts memory that is not the allocator's: text that grows in Go's memory
// before it is copied into a buffer. A negative n gives it back.
func (a *sizedAllocator) Charge(n int64) { charge(a.tracker, n) }

// Charge is the sizedAllocator's.
func (a *allocator) Charge(n int64) { charge(a.tracker, n) }

func charge(t *Tracker, n int64) {
	if n < 0 {
		t.Release(-n)
		return
	}
	take(t, int(n))
}

// allocator counts what Arrow asks for. Arrow hands back slices at the length
// that it asked for, which is what makes len the right measure.
type allocator struct {
	tracker *Tracker
	base    arrow.Allocator
}

var _ arrow.Allocator = (*allocator)(nil)

func (a *allocator) Allocate(size int) []byte {
	take(a.tracker, size)
	return a.base.Allocate(size)
}

// Reallocate reserves the difference alone. While a base that cannot grow in
// place copies, old and new are there together; the head-room between the
// limit and the machine's memory has to cover the largest single buffer.
func (a *allocator) Reallocate(size int, b []byte) []byte {
	old := len(b)
	if size > old {
		take(a.tracker, size-old)
	}
	out := a.base.Reallocate(size, b)
	if size < old {
		a.tracker.Release(int64(old - size))
	}
	return out
}

func (a *allocator) Free(b []byte) {
	n := len(b)
	a.base.Free(b)
	a.tracker.Release(int64(n))
}

func take(t *Tracker, n int) {
	if err := t.Reserve(int64(n)); err != nil {
		panic(err)
	}
}
