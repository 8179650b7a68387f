package executor

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/statestore"
)

// chunkRows is how many rows are looked up together: the more, the closer to one
// another lie the rows of the store that they meet.
const chunkRows = 128 << 10

// chunked is what operators have in common that take many batches in hand and look
// the keys of all of them up together.
type chunked struct {
	base
	operator string
	ev       *computed // the group's keys, and what else the operator looks at
	keys     *stateKeys
	txn      statestore.Txn
	dues     dues

	chunk []inHand
	rows  int // of the chunk
	found keyTable
	ready []arrow.RecordBatch
	mem   account
	ended bool
}

// inHand is a batch of the chunk and where its rows begin among those of the chunk.
type inHand struct {
	rec  arrow.RecordBatch
	cols []arrow.Array // of ev
	from int
}

func (c *chunked) Open(ctx context.Context, tc *TaskContext) error {
	c.ev.open(tc)
	c.reset()
	c.mem.open(tc)
	if err := c.base.Open(ctx, tc); err != nil {
		return err
	}
	var err error
	if c.txn, err = tc.State(ctx, c.operator); err != nil {
		return err
	}
	return c.dues.load(tc, c.keys, c.txn)
}

func (c *chunked) reset() {
	c.release()
	c.ready = release(c.ready)
	c.ended = false
}

// release lets go of the chunk in hand.
func (c *chunked) release() {
	for _, h := range c.chunk {
		h.rec.Release()
		gather.Release(h.cols)
	}
	clear(c.chunk)
	c.chunk, c.rows = c.chunk[:0], 0
}

func (c *chunked) Close() error {
	c.reset()
	_ = c.mem.set(0) // giving back cannot be refused
	return c.base.Close()
}

// next hands out what work makes ready of each chunk; over follows the last one.
func (c *chunked) next(ctx context.Context, work, over func() error) (arrow.RecordBatch, error) {
	for len(c.ready) == 0 && !c.ended {
		if err := c.fill(ctx); err != nil {
			return nil, err
		}
		err := work()
		c.release()
		if err == nil && c.ended {
			err = over()
		}
		if err != nil {
			return nil, fmt.Errorf("state of %s: %w", c.operator, err)
		}
	}
	return popBatch(&c.ready)
}

// fill takes the next chunk in hand.
func (c *chunked) fill(ctx context.Context) error {
	for c.rows < chunkRows {
		rec, err := c.in[0].Next(ctx)
		if err == io.EOF {
			c.ended = true
			return nil
		}
		if err != nil {
			return err
		}
		cols, err := c.ev.run(rec)
		if err != nil {
			rec.Release()
			return err
		}
		c.chunk = append(c.chunk, inHand{rec: rec, cols: cols, from: c.rows})
		c.rows += int(rec.NumRows())
	}
	return nil
}

// forget deletes what a key group has of windows that are over.
func (c *chunked) forget(g int, limit batch.EventTime) error {
	t := &c.found
	t.arena, t.keys = t.arena[:0], t.keys[:0]
	err := c.dues.windows(c.txn, c.keys, g, limit, func(key, _ []byte) error {
		t.keys = append(t.keys, foundKey{from: len(t.arena), size: int32(len(key))})
		t.arena = append(t.arena, key...)
		return nil
	})
	for i := range t.keys {
		if err != nil {
			break
		}
		err = c.txn.Delete(t.key(int32(i)))
	}
	return err
}

// keyTable numbers the different keys of a chunk as they come:
// [key group][group's key][part][value].
type keyTable struct {
	slots
	arena []byte
	keys  []foundKey

	sorter keySorter
	list   [][]byte
}

// foundKey is where a key lies in the arena, and how much of it names the group and the part.
type foundKey struct {
	from       int
	size, head int32
}

// reset forgets the keys. The arena is its user's to empty.
func (t *keyTable) reset() {
	t.keys = t.keys[:0]
	t.slots.reset()
}

func (t *keyTable) key(i int32) []byte {
	k := &t.keys[i]
	return t.arena[k.from : k.from+int(k.size) : k.from+int(k.size)]
}

// head is the key without the value.
func (t *keyTable) head(i int32) []byte { return t.key(i)[:t.keys[i].head:t.keys[i].head] }

// room makes room for n keys of so many bytes.
func (t *keyTable) room(n, bytes int) {
	t.slots.reserve(n)
	t.arena, t.keys = roomFor(t.arena, bytes+n), roomFor(t.keys, n)
}

// find returns the number of a key, which may be new: then it is the last one.
func (t *keyTable) find(group []byte, part byte, value []byte) int32 {
	from := len(t.arena)
	t.arena = append(append(append(t.arena, group...), part), value...)
	key := t.arena[from:]
	hash := uint32(xxh3.Hash(key))
	for at := hash & t.mask; ; at = (at + 1) & t.mask {
		slot := t.table[at]
		if slot == 0 {
			t.keys = append(t.keys, foundKey{from: from, size: int32(len(key)), head: int32(len(group) + 1)})
			t.table[at] = uint64(hash)<<32 | uint64(len(t.keys))
			t.used++
			return int32(len(t.keys) - 1)
		}
		if uint32(slot>>32) != hash {
			continue
		}
		if i := int32(uint32(slot)) - 1; bytes.Equal(t.key(i), key) {
			t.arena = t.arena[:from]
			return i
		}
	}
}

// ordered lists the keys as they lie in the store, and the number of each.
func (t *keyTable) ordered() ([][]byte, []keyWord) {
	order := t.sorter.order(len(t.keys), t.key)
	t.list = t.list[:0]
	for _, o := range order {
		t.list = append(t.list, t.key(o.i))
	}
	return t.list, order
}

func (t *keyTable) bytes() int64 {
	return int64(cap(t.arena)) + 16*int64(cap(t.keys)) + 24*int64(cap(t.list)) + t.slots.bytes()
}
