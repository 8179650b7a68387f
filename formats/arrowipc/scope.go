package arrowipc

import (
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
)

// A buffer may be so many times the size of the whole file, compressed as it may
// be, or that many bytes if this is more.
const (
	maxRatio   = 1000
	freeBuffer = 64 << 20
)

// bounded is what the library takes its buffers from: Go's memory, since nobody
// could give back what it holds when it panics, and none of a size that the file
// cannot mean. Rows are copied out of it under the limit of the query.
type bounded struct {
	memory.Allocator
	name string
	most int // bytes of one buffer
}

func newBounded(f formats.File) *bounded {
	return &bounded{
		Allocator: memory.NewGoAllocator(), name: f.Name,
		most: int(min(maxBody, max(freeBuffer, min(f.Size, maxBody)*maxRatio))),
	}
}

// Allocate implements memory.Allocator. It panics, as the library expects of an
// allocator that cannot give.
func (b *bounded) Allocate(size int) []byte {
	b.check(size)
	return b.Allocator.Allocate(size)
}

// Reallocate implements memory.Allocator.
func (b *bounded) Reallocate(size int, p []byte) []byte {
	b.check(size)
	return b.Allocator.Reallocate(size, p)
}

func (b *bounded) check(size int) {
	if size < 0 || size > b.most {
		panic(batch.UserErrorf("file %q asks for a buffer of %d bytes: more than %d are taken for damage", b.name, size, b.most))
	}
}
