package rowkey

import (
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/batch"
)

// Odd constants of the hash, part of the durable format: state is cut by it.
const (
	hashStart = 0x9e3779b97f4a7c15
	hashMul   = 0xd6e8feb86659fd93
	hashWord  = 0xa0761d6478bd642f
	hashNull  = 0xe7037ed1a0b428db
)

// Hasher hashes rows column by column. It is used by one goroutine.
type Hasher struct {
	words  []uint64
	lo, hi []uint64 // of the rows of a digest
	buf    []byte
	dict   []uint64
}

// Hash fills out with the hash of each row of cols. The number of rows is len(out).
func (h *Hasher) Hash(cols []arrow.Array, out []uint64) { h.hash(cols, hashStart, out) }

// Group returns the key group of a row's hash.
func Group(hash uint64) uint8 { return uint8(hash % batch.KeyGroups) }

// Groups fills out with the key groups of hashes.
func Groups(hashes []uint64, out []uint8) {
	for i, v := range hashes {
		out[i] = Group(v)
	}
}

// Digest returns the sum over all rows of a 128-bit hash: equal rows in any
// order, equal digest. Both halves are made from the same words, so that each
// value is read once.
func (h *Hasher) Digest(cols []arrow.Array, n int) batch.Digest {
	h.words, h.lo, h.hi = grow(h.words, n), grow(h.lo, n), grow(h.hi, n)
	words, lo, hi := h.words, h.lo, h.hi
	for i := range n {
		lo[i], hi[i] = hashStart, hashNull
	}
	for _, col := range cols {
		h.column(col, words)
		lo, hi := lo[:len(words)], hi[:len(words)]
		for i, w := range words {
			k := w ^ hashWord
			lo[i] = fold(lo[i]^hashMul, k) + w
			hi[i] = fold(hi[i]^hashMul, k) + w
		}
	}
	var sum batch.Digest
	for i := range n {
		sum = sum.Add(batch.Digest{Hi: finish(hi[i]), Lo: finish(lo[i])})
	}
	return sum
}

func (h *Hasher) hash(cols []arrow.Array, seed uint64, out []uint64) {
	for i := range out {
		out[i] = seed
	}
	h.words = grow(h.words, len(out))
	for _, col := range cols {
		h.column(col, h.words)
		for i, w := range h.words {
			out[i] = fold(out[i]^hashMul, w^hashWord) + w
		}
	}
	for i, v := range out {
		out[i] = finish(v)
	}
}

// finish makes every bit of a folded row count in each bit of its hash.
func finish(v uint64) uint64 {
	v ^= v >> 33
	v *= 0xff51afd7ed558ccd
	v ^= v >> 33
	v *= 0xc4ceb9fe1a85ec53
	return v ^ v>>33
}

// column fills out with a word for each value: itself if it is of fixed width,
// else the hash of its bytes.
func (h *Hasher) column(col arrow.Array, out []uint64) {
	dt := col.DataType()
	switch {
	case dt.ID() == arrow.NULL:
		for i := range out {
			out[i] = hashNull
		}
		return
	case dt.ID() == arrow.DICTIONARY:
		h.dictionary(col.(*array.Dictionary), out)
		return
	case Width(dt) > 0:
		Words(col, out)
	case isBytes(dt):
		bytesWords(col, out)
	case dt.ID() == arrow.DECIMAL128:
		a := col.(*array.Decimal128)
		for i := range out {
			v := a.Value(i)
			out[i] = v.LowBits() ^ uint64(v.HighBits())*hashMul
		}
	default:
		for i := range out {
			h.buf = AppendKey(h.buf[:0], col, i)
			out[i] = xxh3.Hash(h.buf)
		}
	}
	if col.NullN() > 0 {
		for i := range out {
			if col.IsNull(i) {
				out[i] = hashNull
			}
		}
	}
}

// bytesWords hashes the bytes of each value that is there; what stands for the
// others is undefined.
func bytesWords(col arrow.Array, out []uint64) {
	c := newBytesCol(col)
	if c.off32 != nil && c.index == nil && col.NullN() == 0 {
		offsets := c.off32[c.base:][:len(out)+1]
		from := offsets[0]
		for i := range out {
			to := offsets[i+1]
			out[i] = xxh3.Hash(c.data[from:to])
			from = to
		}
		return
	}
	for i := range out {
		if col.IsValid(i) {
			out[i] = xxh3.Hash(c.value(i))
		}
	}
}

// dictionary hashes each entry once and looks the rows up. A dictionary that is
// larger than the batch is not hashed whole.
func (h *Hasher) dictionary(d *array.Dictionary, out []uint64) {
	values := d.Dictionary()
	if values.Len() > 2*len(out) {
		one := &Hasher{}
		for i := range out {
			if d.IsNull(i) {
				out[i] = hashNull
				continue
			}
			at := int64(d.GetValueIndex(i))
			v := array.NewSlice(values, at, at+1)
			one.column(v, out[i:i+1])
			v.Release()
		}
		return
	}
	h.dict = grow(h.dict, values.Len())
	inner := h.dict
	h.column(values, inner)
	for i := range out {
		if d.IsNull(i) {
			out[i] = hashNull
		} else {
			out[i] = inner[d.GetValueIndex(i)]
		}
	}
}

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
