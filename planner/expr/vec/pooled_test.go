package vec

import (
	"testing"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow/memory"
)

// TestPooled pins that buffers are zero, aligned and not shared, also when reused.
func TestPooled(t *testing.T) {
	p := NewPooled()
	live := map[*byte][]byte{}
	for round := range 200 {
		size := round*37%5000 + 1
		b := p.Allocate(size)
		for i, x := range b {
			if x != 0 {
				t.Fatalf("round %d: byte %d is %d", round, i, x)
			}
		}
		at := unsafe.SliceData(b)
		if len(b) != size || uintptr(unsafe.Pointer(at))%alignment != 0 {
			t.Fatalf("round %d: %d bytes at %p", round, len(b), at)
		}
		if _, taken := live[at]; taken {
			t.Fatalf("round %d: a live buffer was handed out again", round)
		}
		Fill(b)
		b = p.Reallocate(size*2, b)
		for i, x := range b {
			if (i < size) != (x == 0xAA) || i >= size && x != 0 {
				t.Fatalf("round %d: byte %d after growing is %d", round, i, x)
			}
		}
		Fill(b)
		if round%3 == 0 {
			live[unsafe.SliceData(b)] = b
			continue
		}
		p.Free(b)
	}
	p.Free(make([]byte, 100)) // a stranger is left to the collector
	p.Free(nil)
}

// TestUncleared pins that buffers of both kinds are the same ones, that one kind is zero,
// and that what the other grows by is.
func TestUncleared(t *testing.T) {
	p := NewPooled()
	u := p.Uncleared()
	for _, size := range []int{0, 1, 100, 5000, 1<<largestBits + 1} {
		for range min(100, 1+1<<20/(size+1)) { // a pool may lose what it has
			b := u.Allocate(size)
			if len(b) != size {
				t.Fatalf("%d bytes of %d", len(b), size)
			}
			Fill(b)
			b = u.Reallocate(size+700, b)
			for i, x := range b {
				if (i < size) != (x == 0xAA) || i >= size && x != 0 {
					t.Fatalf("%d bytes: byte %d after growing is %d", size, i, x)
				}
			}
			Fill(b)
			u.Free(b)
			b = p.Allocate(size + 700)
			for i, x := range b {
				if x != 0 {
					t.Fatalf("%d bytes: byte %d is %d", size, i, x)
				}
			}
			p.Free(b)
		}
	}
}

// TestPooledClasses pins that a buffer holds what was asked and is at most a
// quarter larger, and that each class is found again by its size.
func TestPooledClasses(t *testing.T) {
	last := -1
	for size := 1; size < 1<<18; size++ {
		c, n := classOf(size)
		if n < size || size > 128 && n > size+size/4 || c < last || c > last+1 {
			t.Fatalf("%d bytes: class %d of %d after %d", size, c, n, last)
		}
		if again, same := classOf(n); again != c || same != n {
			t.Fatalf("class %d of %d is found as %d of %d", c, n, again, same)
		}
		last = c
	}
	if c, n := classOf(1 << largestBits); c != classes-1 || n != 1<<largestBits {
		t.Fatal(c, n)
	}
	if c, n := classOf(1<<largestBits + 1); c != -1 || n != 1<<largestBits+1 {
		t.Fatal(c, n)
	}
	p := NewPooled()
	if b := p.Allocate(1000); cap(b) != p.Size(1000) {
		t.Fatalf("%d bytes, not %d", cap(b), p.Size(1000))
	}
}

// Fill marks a buffer as used.
func Fill(b []byte) {
	for i := range b {
		b[i] = 0xAA
	}
}

// BenchmarkAllocate compares a column's buffer from the pool and from the heap.
func BenchmarkAllocate(b *testing.B) {
	for name, a := range map[string]memory.Allocator{"pool": NewPooled(), "heap": memory.NewGoAllocator()} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				a.Free(a.Allocate(8192 * 8))
			}
		})
	}
}
