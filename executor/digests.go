package executor

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/executor/rowkey"
)

// digest stands for a row: two rows with the same digest are the same.
type digest = [16]byte

// digests counts rows by their digests, without sorting or keeping them. Its memory
// is used again.
type digests struct {
	table  []digestCount // a power of two long, at most half full
	used   int
	keys   []digest // of the rows added, in their order
	counts []int32
	vals   rowkey.Rows
}

// digestCount is an entry; taken tells it from an empty one.
type digestCount struct {
	key   digest
	net   int32
	taken bool
}

func (d *digests) reset() {
	d.keys, d.counts = d.keys[:0], d.counts[:0]
	const small = 1 << 12
	if len(d.table) > small && d.used < len(d.table)/64 {
		d.table = nil // what a large batch has left would cost every small one after it
	}
	if d.used > 0 {
		clear(d.table)
	}
	d.used = 0
}

// add counts each row of cols as so many.
func (d *digests) add(codec *rowkey.ValueCodec, cols []arrow.Array, n int, count int32) error {
	if err := codec.Encode(cols, n, &d.vals); err != nil {
		return err
	}
	d.reserve(n)
	d.keys, d.counts = slices.Grow(d.keys, n), slices.Grow(d.counts, n)
	for i := range n {
		key := xxh3.Hash128(d.vals.Row(i)).Bytes()
		e := d.find(&key)
		if !e.taken {
			*e = digestCount{key: key, taken: true}
			d.used++
		}
		e.net += count
		d.keys, d.counts = append(d.keys, key), append(d.counts, count)
	}
	return nil
}

// find returns the entry of a digest, or the empty one where it would be.
func (d *digests) find(key *digest) *digestCount {
	mask := uint64(len(d.table) - 1)
	for at := binary.LittleEndian.Uint64(key[:]) & mask; ; at = (at + 1) & mask {
		if e := &d.table[at]; !e.taken || e.key == *key {
			return e
		}
	}
}

// of returns the count of a digest.
func (d *digests) of(key *digest) int32 {
	if len(d.table) == 0 {
		return 0
	}
	return d.find(key).net
}

func (d *digests) reserve(n int) {
	want := 2 * (d.used + n)
	if want <= len(d.table) {
		return
	}
	old := d.table
	d.table = make([]digestCount, 1<<bits.Len(uint(max(want, 64)-1)))
	for i := range old {
		if old[i].taken {
			*d.find(&old[i].key) = old[i]
		}
	}
}
