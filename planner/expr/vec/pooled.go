package vec

import (
	"math/bits"
	"sync"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Pooled is an allocator that keeps freed buffers for reuse, by size: four classes
// to a power of two, so that a buffer is a quarter larger than asked at most.
// Kernels allocate a buffer or two per column and batch: from the Go heap that
// costs more than most kernels' loops, because the collector runs all the time.
// Buffers are handed out zeroed, as Go's are. It is safe for concurrent use;
// what is not used for two collections of garbage is given back.
//
// It does not count: an allocator with a budget goes around it, and asks Size what
// a buffer takes.
type Pooled struct {
	classes [classes]sync.Pool
}

const (
	smallestBits = 7 // 128 bytes; smaller ones are not worth it
	largestBits  = 24
	steps        = 4 // classes to a power of two
	classes      = (largestBits-smallestBits)*steps + 1
	alignment    = 64
)

// NewPooled returns an empty pool.
func NewPooled() *Pooled { return &Pooled{} }

var _ memory.Allocator = (*Pooled)(nil)

// classOf returns the number and the size of the smallest class that holds size
// bytes; -1 if there is none.
func classOf(size int) (class, bytes int) {
	if size <= 1<<smallestBits {
		return 0, 1 << smallestBits
	}
	// Above 2^n up to 2^(n+1) there are four classes, 2^(n-2) apart.
	n := bits.Len(uint(size-1)) - 1
	step := (size-1)>>(n-2) - steps + 1 // 1 to 4
	if class = (n-smallestBits)*steps + step; class >= classes {
		return -1, size
	}
	return class, (steps + step) << (n - 2)
}

// Size is what an allocation of size bytes takes.
func (p *Pooled) Size(size int) int {
	if size <= 0 {
		return 0
	}
	_, n := classOf(size)
	return n
}

// Allocate returns size zero bytes at a multiple of 64.
func (p *Pooled) Allocate(size int) []byte {
	if size <= 0 {
		return make([]byte, 0)
	}
	c, n := classOf(size)
	if c < 0 {
		return aligned(size, size)
	}
	b := p.take(c, size, n)
	if b == nil {
		return aligned(size, n)
	}
	clear(b)
	return b
}

// take returns a buffer that was used before, as it is; nil if there is none.
func (p *Pooled) take(class, size, capacity int) []byte {
	x := p.classes[class].Get()
	if x == nil {
		return nil
	}
	return unsafe.Slice(x.(*byte), capacity)[:size]
}

// Uncleared is an allocator of the same buffers, which hold anything when they are
// allocated: for who fills them anyway. What they grow by is zero.
func (p *Pooled) Uncleared() memory.Allocator { return uncleared{p} }

type uncleared struct{ *Pooled }

// Allocate returns size bytes at a multiple of 64.
func (u uncleared) Allocate(size int) []byte {
	if size <= 0 {
		return make([]byte, 0)
	}
	if c, n := classOf(size); c >= 0 {
		if b := u.take(c, size, n); b != nil {
			return b
		}
	}
	return u.Pooled.Allocate(size)
}

func aligned(size, capacity int) []byte {
	raw := make([]byte, capacity+alignment)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(raw)))) & (alignment - 1)
	return raw[skip : skip+size : skip+capacity]
}

// Reallocate grows or shrinks b, in place where its class allows; new bytes are zero.
func (p *Pooled) Reallocate(size int, b []byte) []byte {
	if size <= cap(b) {
		old := len(b)
		b = b[:size]
		if size > old {
			clear(b[old:])
		}
		return b
	}
	nb := p.Allocate(size)
	copy(nb, b)
	p.Free(b)
	return nb
}

// Free takes a buffer back. It must not be used afterwards.
func (p *Pooled) Free(b []byte) {
	c, n := classOf(cap(b))
	if c < 0 || n != cap(b) || uintptr(unsafe.Pointer(unsafe.SliceData(b)))&(alignment-1) != 0 {
		return
	}
	p.classes[c].Put(unsafe.SliceData(b))
}
