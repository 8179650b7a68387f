package memory

import arrow "github.com/apache/arrow-go/v18/arrow/memory"

// Allocator returns an Arrow allocator that takes from t, over base or, if base is
// nil, Arrow's own for Go. It panics with a *LimitError when the limit is
// reached: defer Catch where the task begins.
func (t *Tracker) Allocator(base arrow.Allocator) arrow.Allocator {
	if base == nil {
		base = arrow.DefaultAllocator
	}
	return &allocator{tracker: t, base: base}
}

// allocator counts what Arrow asks for. Arrow hands back slices at the length
// that it asked for, which is what makes len the right measure.
type allocator struct {
	tracker *Tracker
	base    arrow.Allocator
}

var _ arrow.Allocator = (*allocator)(nil)

func (a *allocator) Allocate(size int) []byte {
	a.take(size)
	return a.base.Allocate(size)
}

// Reallocate reserves the difference alone. While a base that cannot grow in
// place copies, old and new are there together; the head-room between the
// limit and the machine's memory has to cover the largest single buffer.
func (a *allocator) Reallocate(size int, b []byte) []byte {
	old := len(b)
	if size > old {
		a.take(size - old)
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

func (a *allocator) take(n int) {
	if err := a.tracker.Reserve(int64(n)); err != nil {
		panic(err)
	}
}
