package executor

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// A text in a key is two words. The first holds its length and its first four
// bytes, the second the other eight of a text of at most twelve; of a longer one
// it says where the bytes are. So most comparisons end at the first word, and
// short texts are compared without a look at their bytes.
const (
	inlineText = 12
	nullText   = ^uint64(0)
)

// textWords returns the words of the text data[start:end], the second of a long
// one being start, and its hash.
func textWords(data []byte, start, end int) (w0, w1, hash uint64) {
	n := end - start
	if n > inlineText {
		w0 = uint64(n)<<32 | uint64(binary.LittleEndian.Uint32(data[start:]))
		return w0, uint64(start), hashText(data[start:end])
	}
	var lo, hi uint64
	if start+16 <= len(data) {
		lo, hi = binary.LittleEndian.Uint64(data[start:]), binary.LittleEndian.Uint64(data[start+8:])
		if n < 8 {
			lo, hi = lo&(1<<(8*n)-1), 0
		} else {
			hi &= 1<<(8*(n-8)) - 1
		}
	} else {
		var b [16]byte
		copy(b[:], data[start:end])
		lo, hi = binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])
	}
	w0 = uint64(n)<<32 | lo&0xffffffff
	w1 = lo>>32 | hi<<32
	return w0, w1, mix(mix(hashSeed, w0), w1)
}

const (
	hashSeed  = 0x9e3779b97f4a7c15
	hashOther = 0xa0761d6478bd642f
)

// hashText hashes a text of more than eight bytes.
func hashText(b []byte) uint64 {
	h := uint64(len(b)) ^ hashSeed
	last := b
	for ; len(b) > 16; b = b[16:] {
		h = fold(h^binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])^hashOther)
	}
	if len(last) >= 16 {
		b = last[len(last)-16:] // overlaps with what is hashed already
	}
	return fold(h^binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[len(b)-8:])^hashOther)
}

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// textArena keeps the bytes of long texts. It grows by chunks: nothing is copied
// when there are more.
type textArena struct {
	chunks [][]byte
	at     int // chunk that is being filled
}

const (
	arenaChunkMin = 4 << 10
	arenaChunkMax = 1 << 20
)

// add keeps a copy of b and returns where it is.
func (a *textArena) add(b []byte) uint64 {
	for ; a.at < len(a.chunks); a.at++ {
		c := a.chunks[a.at]
		if len(b) <= cap(c)-len(c) {
			a.chunks[a.at] = append(c, b...)
			return uint64(a.at)<<32 | uint64(len(c))
		}
	}
	size := arenaChunkMin
	if n := len(a.chunks); n > 0 {
		size = min(2*cap(a.chunks[n-1]), arenaChunkMax)
	}
	a.chunks = append(a.chunks, append(make([]byte, 0, max(size, len(b))), b...))
	return uint64(a.at) << 32
}

func (a *textArena) get(where uint64, n int) []byte {
	return a.chunks[where>>32][uint32(where):][:n]
}

// reset forgets the texts and keeps memory for about as many.
func (a *textArena) reset() {
	if len(a.chunks) > 4 && a.at < len(a.chunks)/16 {
		a.chunks = a.chunks[: a.at+1 : a.at+1]
	}
	for i := range a.chunks {
		a.chunks[i] = a.chunks[i][:0]
	}
	a.at = 0
}

func (a *textArena) bytes() int64 {
	var sum int64
	for _, c := range a.chunks {
		sum += int64(cap(c))
	}
	return sum
}

// sameTexts compares a row's key with a group's where the texts are: the words
// that are not second words of texts are known to be equal.
func (g *groupTable) sameTexts(have, key []uint64) bool {
	for i := range g.texts {
		t := &g.texts[i]
		w0 := key[t.at]
		if n := w0 >> 32; n <= inlineText || w0 == nullText {
			if have[t.at+1] != key[t.at+1] {
				return false
			}
		} else if !bytes.Equal(g.arena.get(have[t.at+1], int(n)), t.src[key[t.at+1]:][:n]) {
			return false
		}
	}
	return true
}

// sameKey compares a row's key with a group's.
func (g *groupTable) sameKey(id uint32, key []uint64) bool {
	have := g.keys[int(id)*len(key):][:len(key)]
	for k, w := range key {
		if have[k] != w && !g.second[k] {
			return false
		}
	}
	return g.sameTexts(have, key)
}

// keep appends a row's key to the groups, with copies of its long texts.
func (g *groupTable) keep(key []uint64) {
	at := len(g.keys)
	g.keys = append(g.keys, key...)
	for i := range g.texts {
		t := &g.texts[i]
		if w0 := key[t.at]; w0 != nullText && w0>>32 > inlineText {
			g.keys[at+t.at+1] = g.arena.add(t.src[key[t.at+1]:][:w0>>32])
		}
	}
}

// text returns a group's text. Short ones are put into buf.
func (g *groupTable) text(w0, w1 uint64, buf *[16]byte) []byte {
	n := int(w0 >> 32)
	if n > inlineText {
		return g.arena.get(w1, n)
	}
	binary.LittleEndian.PutUint32(buf[:], uint32(w0))
	binary.LittleEndian.PutUint64(buf[4:], w1)
	return buf[:n]
}

// textColumn returns the values of a column of groups [first, end).
func (g *groupTable) textColumn(alloc memory.Allocator, t *textKey, first, end int) (arrow.Array, error) {
	n, stride, dt := end-first, g.stride(), g.types[t.col]
	at := first*stride + t.at
	var buf [16]byte
	if id := dt.ID(); id == arrow.STRING || id == arrow.BINARY {
		size := 0
		for i := range n {
			if w0 := g.keys[at+i*stride]; w0 != nullText {
				size += int(w0 >> 32)
			}
		}
		if size <= math.MaxInt32 {
			return g.plainTexts(alloc, dt, at, n, size), nil
		}
		return nil, fmt.Errorf("%d groups have keys of %d bytes: too many for one batch", n, size)
	}
	b := array.NewBuilder(alloc, dt)
	defer b.Release()
	b.Reserve(n)
	dec, err := rowkey.NewEncoder([]arrow.DataType{dt})
	if err != nil {
		return nil, err
	}
	for i := range n {
		w0, w1 := g.keys[at+i*stride], g.keys[at+i*stride+1]
		if w0 == nullText {
			b.AppendNull()
			continue
		}
		if err := appendText(b, g.text(w0, w1, &buf), t.encoded, dec); err != nil {
			return nil, err
		}
	}
	return b.NewArray(), nil
}

func appendText(b array.Builder, v []byte, encoded bool, dec *rowkey.Encoder) error {
	if encoded {
		return dec.Decode(v, []array.Builder{b})
	}
	switch b := b.(type) {
	case *array.LargeStringBuilder:
		b.BinaryBuilder.Append(v)
		return nil
	case *array.BinaryBuilder:
		b.Append(v)
		return nil
	case *array.BinaryDictionaryBuilder:
		return b.Append(v)
	}
	return fmt.Errorf("no keys of type %s", b.Type())
}

// plainTexts builds a STRING or BINARY column of size bytes.
func (g *groupTable) plainTexts(alloc memory.Allocator, dt arrow.DataType, at, n, size int) arrow.Array {
	stride := g.stride()
	offsets, off := vec.NewFixed[int32](alloc, n+1)
	// Short texts are written as 16 bytes, of which the next one overwrites the rest.
	data, out := vec.NewFixed[byte](alloc, size+16)
	mask := vec.NewMask(alloc, n)
	off[0] = 0
	to := 0
	for i := range n {
		w0, w1 := g.keys[at+i*stride], g.keys[at+i*stride+1]
		k := int(w0 >> 32)
		switch {
		case w0 == nullText:
			mask.SetNull(i)
			k = 0
		case k > inlineText:
			copy(out[to:], g.arena.get(w1, k))
		default:
			binary.LittleEndian.PutUint32(out[to:], uint32(w0))
			binary.LittleEndian.PutUint64(out[to+4:], w1)
		}
		to += k
		off[i+1] = int32(to)
	}
	data.Resize(size)
	return mask.Array(dt, offsets, data)
}
