package run

import (
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
)

// room is what a cache may hold of its largest size.
type room struct {
	size atomic.Int64
	held atomic.Int64 // what the open files would always like to have there

	mu struct {
		sync.Mutex
		free func() // gives back what is held back of the largest size
	}
}

// Resize lets the cache hold so many bytes, at most those that it was made with.
func (c *Cache) Resize(bytes int64) {
	c.room.mu.Lock()
	defer c.room.mu.Unlock()
	if c.room.mu.free != nil {
		c.room.mu.free()
		c.room.mu.free = nil
	}
	bytes = min(max(bytes, 1), c.c.MaxSize())
	if back := c.c.MaxSize() - bytes; back > 0 {
		c.room.mu.free = c.c.Reserve(int(back))
	}
	c.room.size.Store(bytes)
}

// Size is how many bytes the cache may hold now.
func (c *Cache) Size() int64 { return c.room.size.Load() }

// Held is about how many bytes the indexes and filters of the open files have. Who
// looks for single keys needs them for each, and a block of rows once.
func (c *Cache) Held() int64 { return c.room.held.Load() }

// crowded says that indexes and filters leave too little for blocks of rows.
func (c *Cache) crowded() bool { return c.Held() > c.Size()/8*7 }

// tablePerIndex is how many bytes of a table there are to one of its index: blocks
// of four kilobytes, packed by half, have an entry of some ten bytes each.
const tablePerIndex = 200

// held is what the file would like to have in the cache always.
func (f *File) held() int64 { return f.filterBytes() + f.Table/tablePerIndex }

// once is an iterator for reading the file front to back, all of it or much. What it
// reads does not stay in the cache: it would push out what single keys are looked up
// with. It asks no filter.
func (f *File) once() (i *Iter, err error) {
	defer recovered(f.name, &err)
	const buffers = 5 // blocks of rows and of the index, packed and not
	pool := new(block.BufferPool)
	pool.Init(buffers)
	it, err := f.r.NewPointIter(f.ctx, sstable.IterOptions{FilterBlockSizeLimit: sstable.NeverUseFilterBlock,
		Env: sstable.ReadEnv{Block: block.ReadEnv{BufferPool: pool}}})
	if err != nil {
		pool.Release()
		return nil, f.wrap("read", err)
	}
	return &Iter{f: f, it: it, pool: pool}, nil
}
