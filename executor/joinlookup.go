package executor

import (
	"math/bits"
	"slices"
)

// lookupRows is how many rows are hashed and looked up in the directory before
// the first key is compared, so that their cache misses overlap.
const lookupRows = 512

// lookup fills lo and hi with the range of each of len(lo) keys in the index;
// an empty range is 0, 0.
func (x *joinIndex) lookup(words []uint64, lo, hi []uint32) {
	switch {
	case x.n == 0:
		clear(lo)
		clear(hi)
	case x.stride == 0:
		for i := range lo {
			lo[i], hi[i] = 0, uint32(x.n)
		}
	case x.dense != nil && x.starts == nil:
		x.lookupRank(words, lo, hi)
	case x.dense != nil:
		x.lookupRank(words, lo, hi)
		for i := range lo {
			if hi[i] != 0 {
				lo[i], hi[i] = x.starts[lo[i]], x.starts[hi[i]]
			}
		}
	case x.stride == 1:
		x.lookup1(words, lo, hi)
	default:
		x.lookup2(words, lo, hi)
	}
}

// lookupRank gives the number of each key as a range of one.
func (x *joinIndex) lookupRank(words []uint64, lo, hi []uint32) {
	words, hi = words[:len(lo)], hi[:len(lo)]
	dense, ranks, least, span := x.dense, x.ranks, x.min, x.span
	for i, w := range words {
		at := w - least
		l, h := uint32(0), uint32(0)
		if at < span {
			d := dense[at>>6]
			if d>>(at&63)&1 != 0 {
				l = ranks[at>>6] + uint32(bits.OnesCount64(d&(1<<(at&63)-1)))
				h = l + 1
			}
		}
		lo[i], hi[i] = l, h
	}
}

// candidates fills lo and hi with the buckets of hashes whose tags say that the
// key may be there.
func (x *joinIndex) candidates(hashes []uint64, lo, hi []uint32) {
	dir, shift := x.dir, x.shift&63
	lo, hi = lo[:len(hashes)], hi[:len(hashes)]
	for i, h := range hashes {
		b := h >> shift
		start, end := dir[b], dir[b+1]
		t := tagOf(h)
		l, e := uint32(start>>16), uint32(end>>16)
		if end&t != t {
			l, e = 0, 0
		}
		lo[i], hi[i] = l, e
	}
}

func (x *joinIndex) lookup1(words []uint64, lo, hi []uint32) {
	var hashes [lookupRows]uint64
	keys := x.words
	for start := 0; start < len(lo); start += lookupRows {
		end := min(start+lookupRows, len(lo))
		for i, w := range words[start:end] {
			hashes[i] = mixWord(w)
		}
		x.candidates(hashes[:end-start], lo[start:end], hi[start:end])
		for i := start; i < end; i++ {
			l, h, w := lo[i], hi[i], words[i]
			for l < h && keys[l] != w {
				l++
			}
			if l == h {
				lo[i], hi[i] = 0, 0
				continue
			}
			e := l + 1
			for e < h && keys[e] == w {
				e++
			}
			lo[i], hi[i] = l, e
		}
	}
}

func (x *joinIndex) lookup2(words []uint64, lo, hi []uint32) {
	var hashes [lookupRows]uint64
	keys := x.words
	for start := 0; start < len(lo); start += lookupRows {
		end := min(start+lookupRows, len(lo))
		for i := range end - start {
			hashes[i] = mixPair(words[2*(start+i)], words[2*(start+i)+1])
		}
		x.candidates(hashes[:end-start], lo[start:end], hi[start:end])
		for i := start; i < end; i++ {
			l, h, a, b := lo[i], hi[i], words[2*i], words[2*i+1]
			for l < h && (keys[2*l] != a || keys[2*l+1] != b) {
				l++
			}
			if l == h {
				lo[i], hi[i] = 0, 0
				continue
			}
			e := l + 1
			for e < h && keys[2*e] == a && keys[2*e+1] == b {
				e++
			}
			lo[i], hi[i] = l, e
		}
	}
}

// may appends to dst the positions of the n keys that are in the index, and of
// some that are not.
func (x *joinIndex) may(words []uint64, n int, dst []int32) []int32 {
	first := len(dst)
	if x.n == 0 {
		return dst
	}
	dst = slices.Grow(dst, n)[:first+n]
	out, k := dst[first:], 0
	switch {
	case x.stride == 0:
		for i := range out {
			out[i] = int32(i)
		}
		k = n
	case x.dense != nil:
		dense, least, span := x.dense, x.min, x.span
		for i, w := range words[:n] {
			out[k] = int32(i)
			if at := w - least; at < span {
				k += int(dense[at>>6] >> (at & 63) & 1)
			}
		}
	default:
		dir, shift := x.dir[1:], x.shift&63
		for i := range n {
			h := x.hash(words, i)
			t := tagOf(h)
			out[k] = int32(i)
			k += same(dir[h>>shift]&t, t)
		}
	}
	return dst[:first+k]
}

// same is 1 for equal words. It compiles to no branch.
func same(a, b uint64) int {
	if a == b {
		return 1
	}
	return 0
}
