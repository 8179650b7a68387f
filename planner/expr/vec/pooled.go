package vec

import (
	"math/bits"
	"sync"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Pooled is an allocator that keeps freed buffers for reuse, by powers of two.
// Kernels allocate a buffer or two per column and batch: from the Go heap that
// costs more than most kernels' loops, because the collector runs all the time.
// Buffers are handed out zeroed, as Go's are. It is safe for concurrent use;
// what is not used for two collections of garbage is given back.
//
// It does not count: an allocator with a budget goes around it.
type Pooled struct {
	classes [largestClass + 1]sync.Pool
}

const (
	smallestClass = 7 // 128 bytes; smaller ones are not worth it
	largestClass  = 24
	alignment     = 64
)

// NewPooled returns an empty pool.
func NewPooled() *Pooled { return &Pooled{} }

var _ memory.Allocator = (*Pooled)(nil)

// classOf returns the power of two that holds size bytes.
func classOf(size int) int { return max(bits.Len(uint(size-1)), smallestClass) }

// Allocate returns size zero bytes at a multiple of 64.
func (p *Pooled) Allocate(size int) []byte {
	if size <= 0 {
		return make([]byte, 0)
	}
	c := classOf(size)
	if c > largestClass {
		return aligned(size, size)
	}
	if x := p.classes[c].Get(); x != nil {
		b := unsafe.Slice(x.(*byte), 1<<c)[:size]
		clear(b)
		return b
	}
	return aligned(size, 1<<c)
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
	c := cap(b)
	if c < 1<<smallestClass || c > 1<<largestClass || c&(c-1) != 0 || uintptr(unsafe.Pointer(unsafe.SliceData(b)))&(alignment-1) != 0 {
		return
	}
	p.classes[bits.Len(uint(c))-1].Put(unsafe.SliceData(b[:c]))
}
