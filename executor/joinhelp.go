package executor

import (
	"context"
	"sync"
	"sync/atomic"
)

// helpers lets tasks that wait for something take part in making it: whoever
// makes it cuts the work into parts, and everybody takes the next one that is
// left. Nobody waits for a part that nobody has begun, so that it does not
// matter how many come, or when.
type helpers struct {
	mu struct {
		sync.Mutex
		work    *shares
		changed chan struct{} // closed when there is other work
	}
}

// shares is one piece of work in parts.
type shares struct {
	n          int64
	f          func(i int)
	next, done atomic.Int64
	all        chan struct{} // closed when every part is done
	broken     atomic.Pointer[any]
}

func newHelpers() *helpers {
	h := &helpers{}
	h.mu.changed = make(chan struct{})
	return h
}

// do calls f for each part, here and wherever somebody helps, and returns when
// all are done. A panic of f goes on here, whoever's goroutine it was on.
func (h *helpers) do(parts int, f func(i int)) {
	if parts <= 1 {
		eachPart(parts, f)
		return
	}
	s := &shares{n: int64(parts), f: f, all: make(chan struct{})}
	h.publish(s)
	s.take()
	<-s.all
	h.publish(nil)
	if p := s.broken.Load(); p != nil {
		panic(*p)
	}
}

func (h *helpers) publish(s *shares) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.work = s
	close(h.mu.changed)
	h.mu.changed = make(chan struct{})
}

// help takes part until made is closed or ctx ends. While there is nothing to do it
// has lent its slot: whoever makes the thing may need one.
func (h *helpers) help(ctx context.Context, lend func() (resume func()), made <-chan struct{}) error {
	for {
		h.mu.Lock()
		s, changed := h.mu.work, h.mu.changed
		h.mu.Unlock()
		if s != nil {
			s.take()
		}
		if over, err := await(ctx, lend, made, changed); over || err != nil {
			return err
		}
	}
}

// await waits for one of two; over says that it is the first.
func await(ctx context.Context, lend func() (resume func()), made, changed <-chan struct{}) (over bool, err error) {
	select {
	case <-made:
		return true, nil
	default:
	}
	if lend != nil {
		defer lend()()
	}
	select {
	case <-made:
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	case <-changed:
		return false, nil
	}
}

// take does parts until none is left to begin.
func (s *shares) take() {
	for {
		i := s.next.Add(1) - 1
		if i >= s.n {
			return
		}
		s.part(int(i))
	}
}

func (s *shares) part(i int) {
	defer func() {
		if r := recover(); r != nil {
			s.broken.CompareAndSwap(nil, &r)
		}
		if s.done.Add(1) == s.n {
			close(s.all)
		}
	}()
	s.f(i)
}
