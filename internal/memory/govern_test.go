package memory

import (
	"math"
	"runtime/debug"
	"testing"
)

// TestGovern is about the whole process, so it runs alone.
func TestGovern(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	debug.SetMemoryLimit(math.MaxInt64)
	of := func(limit int64) int64 { return limit + limit/slackPart + slackBytes }
	check := func(what string, want int64) {
		t.Helper()
		if got := debug.SetMemoryLimit(-1); got != want {
			t.Errorf("%s: the collector's limit is %d, want %d", what, got, want)
		}
	}
	a, b := NewBudget(100<<20), NewBudget(50<<20)
	endA := a.Govern()
	check("one budget", of(100<<20))
	endB := b.Govern()
	check("two budgets", of(150<<20))
	b.SetLimit(80 << 20)
	check("a limit that was changed", of(180<<20))
	b.SetLimit(0)
	check("a budget without a limit", math.MaxInt64)
	endB()
	endB()
	check("one that has ended", of(100<<20))
	endA()
	check("none", math.MaxInt64)

	debug.SetMemoryLimit(64 << 20)
	endA = a.Govern()
	check("a lower limit from outside", 64<<20)
	endA()
	check("that limit afterwards", 64<<20)
}

// rounding takes twice what is asked.
type rounding struct{}

func (rounding) Size(n int) int          { return 2 * n }
func (r rounding) Allocate(n int) []byte { return make([]byte, n, 2*n) }
func (rounding) Free([]byte)             {}
func (r rounding) Reallocate(n int, b []byte) []byte {
	if n <= cap(b) {
		return b[:n]
	}
	return append(r.Allocate(n)[:0], b...)[:n]
}

// TestBuffersCountAtWhatTheyTake pins that a budget is charged for capacity.
func TestBuffersCountAtWhatTheyTake(t *testing.T) {
	b := NewBudget(1000)
	alloc := b.Child("task", 0).Allocator(rounding{})
	buf := alloc.Allocate(100)
	if b.Used() != 200 {
		t.Fatalf("100 bytes count %d", b.Used())
	}
	if buf = alloc.Reallocate(180, buf); b.Used() != 200 {
		t.Fatalf("grown in place they count %d", b.Used())
	}
	if buf = alloc.Reallocate(250, buf); b.Used() != 500 || b.Peak() != 700 {
		t.Fatalf("grown they count %d, at most %d", b.Used(), b.Peak())
	}
	if buf = alloc.Reallocate(10, buf); b.Used() != 500 {
		t.Fatalf("shrunk they count %d", b.Used())
	}
	if alloc.Free(buf); b.Used() != 0 {
		t.Fatalf("%d bytes are left", b.Used())
	}
}
