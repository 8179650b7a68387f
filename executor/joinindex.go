package executor

import (
	"cmp"
	"math/bits"
	"slices"
)

// joinIndex finds the build rows of a key. Rows of the same key lie one behind
// the other in rows, in their order on the build side, so that what a lookup
// gives is a range. It is immutable once built and may be read by many tasks.
//
// Two forms exist. Keys of one word that lie close together are bits of a map:
// the rank of a bit is the number of its key, so that nothing is hashed or
// compared, and a miss reads 16 bytes. Any other keys lie sorted by a bucket of
// their hash; the directory has of each bucket where it ends and 16 bits of a
// Bloom filter over its keys, so that most misses end at the directory.
type joinIndex struct {
	stride int      // words per key; 0 if all rows have the same (empty) key
	n      int      // rows with a key
	unique bool     // no key has two rows
	rows   []uint32 // build rows in the order of the index; nil if row i is i

	dense  []rankWord
	min    uint64
	span   uint64   // dense keys are below min+span
	starts []uint32 // of the rows of dense key i; nil if keys are unique

	dir   []uint64
	shift uint     // of a hash, to its bucket
	words []uint64 // keys in the order of the index
}

// rankWord is 64 keys: which of them exist, and how many exist before them.
type rankWord struct {
	bits uint64
	rank uint64
}

// densePerRow is how many possible keys there may be for a row for the keys to
// count as close together: a rankWord is a quarter of a byte per possible key.
const densePerRow = 48

// denseFew is how many possible keys are close together for any number of rows.
const denseFew = 1 << 12

// buildJoinIndex indexes n keys of stride words each. valid, if not nil, lists
// the rows that have a key. exactMin and exactMax allow the dense form.
func buildJoinIndex(words []uint64, stride, n int, valid []uint32, dense bool) *joinIndex {
	x := &joinIndex{stride: stride, n: n}
	if valid != nil {
		x.n = len(valid)
	}
	switch {
	case stride == 0:
		x.rows, x.unique = valid, x.n <= 1
	case x.n == 0:
		x.unique = true
		x.dir = []uint64{0, 0}
		x.shift = 63
	case stride == 1 && dense && x.tryDense(words, valid):
	default:
		x.buildHashed(words, n, valid)
	}
	return x
}

func (x *joinIndex) bytes() int64 {
	return 4*int64(cap(x.rows)+cap(x.starts)) + 16*int64(cap(x.dense)) + 8*int64(cap(x.dir)+cap(x.words))
}

// bounds returns the least and the greatest key.
func bounds(words []uint64, valid []uint32) (lo, hi uint64) {
	lo, hi = ^uint64(0), 0
	if valid == nil {
		for _, w := range words {
			lo, hi = min(lo, w), max(hi, w)
		}
		return lo, hi
	}
	for _, r := range valid {
		lo, hi = min(lo, words[r]), max(hi, words[r])
	}
	return lo, hi
}

// tryDense builds the dense form if the keys are close enough for it.
func (x *joinIndex) tryDense(words []uint64, valid []uint32) bool {
	lo, hi := bounds(words, valid)
	span := hi - lo
	if span >= uint64(max(x.n*densePerRow, denseFew)) {
		return false
	}
	x.min, x.span = lo, span+1
	x.dense = make([]rankWord, span/64+1)
	ordered := valid == nil // whether row i has the i-th key
	x.unique = true
	last := uint64(0)
	set := func(w uint64, first bool) {
		at := w - lo
		bit := uint64(1) << (at & 63)
		d := &x.dense[at>>6]
		x.unique = x.unique && d.bits&bit == 0
		d.bits |= bit
		ordered = ordered && (first || at > last)
		last = at
	}
	if valid == nil {
		for i, w := range words {
			set(w, i == 0)
		}
	} else {
		for i, r := range valid {
			set(words[r], i == 0)
		}
	}
	rank := uint64(0)
	for i := range x.dense {
		x.dense[i].rank = rank
		rank += uint64(bits.OnesCount64(x.dense[i].bits))
	}
	if !x.unique || !ordered {
		x.placeDense(words, valid, int(rank))
	}
	return true
}

// number returns which key of the dense form w is, which must exist.
func (x *joinIndex) number(w uint64) uint32 {
	at := w - x.min
	d := &x.dense[at>>6]
	return uint32(d.rank) + uint32(bits.OnesCount64(d.bits&(1<<(at&63)-1)))
}

func (x *joinIndex) placeDense(words []uint64, valid []uint32, keys int) {
	x.rows = make([]uint32, x.n)
	if x.unique {
		eachValid(x.n, valid, func(r uint32) { x.rows[x.number(words[r])] = r })
		return
	}
	x.starts = make([]uint32, keys+1)
	numbers := make([]uint32, x.n)
	i := 0
	eachValid(x.n, valid, func(r uint32) {
		k := x.number(words[r])
		numbers[i] = k
		i++
		x.starts[k+1]++
	})
	for k := range keys {
		x.starts[k+1] += x.starts[k]
	}
	i = 0
	eachValid(x.n, valid, func(r uint32) {
		k := numbers[i]
		i++
		x.rows[x.starts[k]] = r
		x.starts[k]++
	})
	// Every start has moved to where the next key's is.
	copy(x.starts[1:], x.starts[:keys])
	x.starts[0] = 0
}

func eachValid(n int, valid []uint32, f func(r uint32)) {
	if valid == nil {
		for i := range n {
			f(uint32(i))
		}
		return
	}
	for _, r := range valid {
		f(r)
	}
}

// mixWord spreads a word over 64 bits; its high bits choose the bucket.
func mixWord(w uint64) uint64 {
	hi, lo := bits.Mul64(w^0x9e3779b97f4a7c15, 0xd6e8feb86659fd93)
	return (hi ^ lo) * 0xa0761d6478bd642f
}

func mixPair(a, b uint64) uint64 { return mixWord(mixWord(a) ^ b) }

// tagOf is two of the 16 bits of a bucket's Bloom filter.
func tagOf(h uint64) uint64 { return 1<<(h&15) | 1<<(h>>4&15) }

func (x *joinIndex) hashes(words []uint64, n int) []uint64 {
	out := make([]uint64, n)
	if x.stride == 1 {
		for i, w := range words[:n] {
			out[i] = mixWord(w)
		}
		return out
	}
	for i := range out {
		out[i] = mixPair(words[2*i], words[2*i+1])
	}
	return out
}

// buildHashed counts the rows of each bucket and then puts every row into its
// place, so that nothing ever grows.
func (x *joinIndex) buildHashed(words []uint64, n int, valid []uint32) {
	size := 64 - bits.LeadingZeros64(uint64(max(x.n, 2)-1)) // log2 of the buckets, at least as many as rows
	x.shift = uint(64 - size)
	x.dir = make([]uint64, 1<<size+1)
	hashes := x.hashes(words, n)
	dir := x.dir[1:]
	eachHash(hashes, valid, func(_ uint32, h uint64) {
		b := h >> x.shift
		dir[b] = (dir[b] + 1<<16) | tagOf(h)
	})
	// A bucket's count becomes its start, which moves to its end as rows are placed.
	sum := uint64(0)
	for b, d := range dir {
		dir[b] = sum<<16 | d&0xffff
		sum += d >> 16
	}
	x.rows = make([]uint32, x.n)
	x.words = make([]uint64, x.n*x.stride)
	stride := x.stride
	eachHash(hashes, valid, func(r uint32, h uint64) {
		b := h >> x.shift
		at := dir[b] >> 16
		dir[b] += 1 << 16
		x.rows[at] = r
		if stride == 1 {
			x.words[at] = words[r]
			return
		}
		x.words[2*at], x.words[2*at+1] = words[2*r], words[2*r+1]
	})
	x.unique = true
	for b := range dir {
		lo, hi := x.dir[b]>>16, x.dir[b+1]>>16
		if hi-lo > 1 {
			x.groupBucket(int(lo), int(hi))
		}
	}
}

func eachHash(hashes []uint64, valid []uint32, f func(r uint32, h uint64)) {
	if valid == nil {
		for r, h := range hashes {
			f(uint32(r), h)
		}
		return
	}
	for _, r := range valid {
		f(r, hashes[r])
	}
}

// groupBucket puts the rows of each key of a bucket together, in their order.
func (x *joinIndex) groupBucket(lo, hi int) {
	same, twice := true, false
	for i := lo + 1; i < hi; i++ {
		eq := x.equal(i-1, i)
		same, twice = same && eq, twice || eq
	}
	if same {
		x.unique = false
		return
	}
	if hi-lo == 2 {
		return
	}
	if !twice && hi-lo <= 8 {
		for i := lo; i < hi && !twice; i++ {
			for k := i + 2; k < hi && !twice; k++ {
				twice = x.equal(i, k)
			}
		}
		if !twice {
			return
		}
	}
	type entry struct {
		a, b uint64
		row  uint32
	}
	es := make([]entry, hi-lo)
	for i := range es {
		es[i] = entry{a: x.words[(lo+i)*x.stride], row: x.rows[lo+i]}
		if x.stride == 2 {
			es[i].b = x.words[(lo+i)*2+1]
		}
	}
	slices.SortFunc(es, func(p, q entry) int {
		return cmp.Or(cmp.Compare(p.a, q.a), cmp.Compare(p.b, q.b), cmp.Compare(p.row, q.row))
	})
	for i, e := range es {
		x.words[(lo+i)*x.stride], x.rows[lo+i] = e.a, e.row
		if x.stride == 2 {
			x.words[(lo+i)*2+1] = e.b
		}
		if i > 0 && e.a == es[i-1].a && e.b == es[i-1].b {
			x.unique = false
		}
	}
}

func (x *joinIndex) equal(i, k int) bool {
	if x.stride == 1 {
		return x.words[i] == x.words[k]
	}
	return x.words[2*i] == x.words[2*k] && x.words[2*i+1] == x.words[2*k+1]
}

// row returns the build row at a place of the index.
func (x *joinIndex) row(at uint32) int32 {
	if x.rows == nil {
		return int32(at)
	}
	return int32(x.rows[at])
}
