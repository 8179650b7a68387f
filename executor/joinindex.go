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
// compared, and a miss reads one bit. Any other keys lie sorted by a bucket of
// their hash; the directory has of each bucket where it ends and 16 bits of a
// Bloom filter over its keys, so that most misses end at the directory.
type joinIndex struct {
	stride int      // words per key; 0 if all rows have the same (empty) key
	n      int      // rows with a key
	unique bool     // no key has two rows
	rows   []uint32 // build rows in the order of the index; nil if row i is i

	dense  []uint64 // a bit per possible key
	ranks  []uint32 // how many keys exist before each word of dense
	min    uint64
	span   uint64   // dense keys are below min+span
	starts []uint32 // of the rows of dense key i; nil if keys are unique

	dir   []uint64
	shift uint     // of a hash, to its bucket
	words []uint64 // keys in the order of the index
}

// densePerRow is how many possible keys there may be for a row for the keys to
// count as close together: eight of them take 12 bits, and a row of the other
// form takes some 20 bytes.
const densePerRow = 128

// placeRows is how many rows of the dense form are put into their places at a time.
const placeRows = 1 << 16

// denseFew is how many possible keys are close together for any number of rows.
const denseFew = 1 << 12

// buildJoinIndex indexes n keys of stride words each. valid, if not nil, lists the
// rows that have a key; dense says that words are the keys, not hashes of them.
// run calls a function for a number of parts, in any order or at the same time.
func buildJoinIndex(words []uint64, stride, n int, valid []uint32, dense bool, run func(parts int, f func(i int))) *joinIndex {
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
	case stride == 1 && dense && x.tryDense(words, valid, run):
	default:
		x.buildHashed(words, n, valid, run)
	}
	return x
}

func (x *joinIndex) bytes() int64 {
	return 4*int64(cap(x.rows)+cap(x.starts)+cap(x.ranks)) + 8*int64(cap(x.dense)+cap(x.dir)+cap(x.words))
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
func (x *joinIndex) tryDense(words []uint64, valid []uint32, run func(parts int, f func(i int))) bool {
	lo, hi := bounds(words, valid)
	span := hi - lo
	if span >= uint64(max(x.n*densePerRow, denseFew)) {
		return false
	}
	x.min, x.span = lo, span+1
	x.dense, x.ranks = make([]uint64, span/64+1), make([]uint32, span/64+1)
	ordered, twice := valid == nil, uint64(0)
	last := lo
	for i := range x.n {
		w := words[validRow(valid, i)]
		at := w - lo
		bit := uint64(1) << (at & 63)
		d := &x.dense[at>>6]
		twice |= *d & bit
		*d |= bit
		ordered = ordered && w >= last
		last = w
	}
	x.unique = twice == 0
	rank := uint32(0)
	for i, d := range x.dense {
		x.ranks[i] = rank
		rank += uint32(bits.OnesCount64(d))
	}
	if !x.unique || !ordered {
		x.placeDense(words, valid, int(rank), run)
	}
	return true
}

// number returns which key of the dense form w is, which must exist.
func (x *joinIndex) number(w uint64) uint32 {
	at := w - x.min
	return x.ranks[at>>6] + uint32(bits.OnesCount64(x.dense[at>>6]&(1<<(at&63)-1)))
}

func (x *joinIndex) placeDense(words []uint64, valid []uint32, keys int, run func(parts int, f func(i int))) {
	x.rows = make([]uint32, x.n)
	if x.unique {
		run((x.n+placeRows-1)/placeRows, func(p int) {
			for i := p * placeRows; i < min((p+1)*placeRows, x.n); i++ {
				r := validRow(valid, i)
				x.rows[x.number(words[r])] = uint32(r)
			}
		})
		return
	}
	x.starts = make([]uint32, keys+1)
	numbers := make([]uint32, x.n)
	for i := range numbers {
		k := x.number(words[validRow(valid, i)])
		numbers[i] = k
		x.starts[k+1]++
	}
	for k := range keys {
		x.starts[k+1] += x.starts[k]
	}
	for i, k := range numbers {
		x.rows[x.starts[k]] = uint32(validRow(valid, i))
		x.starts[k]++
	}
	// Every start has moved to where the next key's is.
	copy(x.starts[1:], x.starts[:keys])
	x.starts[0] = 0
}

// validRow is the i-th row that has a key.
func validRow(valid []uint32, i int) int {
	if valid == nil {
		return i
	}
	return int(valid[i])
}

// eachPart calls f for each of a number of parts.
func eachPart(parts int, f func(i int)) {
	for i := range parts {
		f(i)
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

func (x *joinIndex) hash(words []uint64, i int) uint64 {
	if x.stride == 1 {
		return mixWord(words[i])
	}
	return mixPair(words[2*i], words[2*i+1])
}

// partBits is the log2 of how many buckets are filled at a time: so many that
// what is written stays in a processor's cache.
const partBits = 14

// partMax is the log2 of how many parts the buckets are cut into at most.
const partMax = 9

// buildHashed counts the rows of each bucket and then puts every row into its
// place, so that nothing ever grows. Many rows are first sorted by part of the
// buckets, and then part by part, which many may do at a time.
func (x *joinIndex) buildHashed(words []uint64, n int, valid []uint32, run func(parts int, f func(i int))) {
	size := 64 - bits.LeadingZeros64(uint64(max(x.n, 2)-1)) // log2 of the buckets, at least as many as rows
	x.shift = uint(64 - size)
	x.dir = make([]uint64, 1<<size+1)
	x.rows = make([]uint32, x.n)
	x.words = make([]uint64, x.n*x.stride)
	cut := min(max(size-partBits, 0), partMax)
	if cut == 0 && valid == nil {
		x.unique = x.fill(0, 1<<size, 0, words, nil)
		return
	}
	rows, starts := make([]uint32, x.n), make([]uint32, 1<<cut+1)
	sorted := make([]uint64, x.n*x.stride)
	x.sortByPart(words, n, valid, uint(64-cut), sorted, rows, starts)
	unique := make([]bool, 1<<cut)
	width := 1 << (size - cut)
	run(1<<cut, func(p int) {
		from, to := starts[p], starts[p+1]
		unique[p] = x.fill(p*width, (p+1)*width, from, sorted[int(from)*x.stride:int(to)*x.stride], rows[from:to])
	})
	x.unique = !slices.Contains(unique, false)
}

// sortByPart moves keys and their rows to the part of their hash's first bits.
func (x *joinIndex) sortByPart(words []uint64, n int, valid []uint32, shift uint, sorted []uint64, rows, starts []uint32) {
	m := n
	if valid != nil {
		m = len(valid)
	}
	next := make([]uint32, len(starts))
	for i := range m {
		next[x.hash(words, validRow(valid, i))>>shift+1]++
	}
	for p := range len(starts) - 1 {
		next[p+1] += next[p]
	}
	copy(starts, next)
	for i := range m {
		r := validRow(valid, i)
		p := x.hash(words, r) >> shift
		to := next[p]
		next[p]++
		rows[to] = uint32(r)
		if x.stride == 1 {
			sorted[to] = words[r]
		} else {
			sorted[2*to], sorted[2*to+1] = words[2*r], words[2*r+1]
		}
	}
}

// fill fills buckets [first, end), whose rows start at place base of the index,
// and reports whether no key has two rows. Without rows, key i is of row i.
func (x *joinIndex) fill(first, end int, base uint32, words []uint64, rows []uint32) bool {
	n := len(words) / x.stride
	dir, shift := x.dir[1:], x.shift&63
	for i := range n {
		h := x.hash(words, i)
		d := &dir[h>>shift]
		*d = (*d + 1<<16) | tagOf(h)
	}
	// A bucket's count becomes its start, which moves to its end as rows are placed.
	sum := uint64(base)
	for b := first; b < end; b++ {
		d := dir[b]
		dir[b] = sum<<16 | d&0xffff
		sum += d >> 16
	}
	for i := range n {
		d := &dir[x.hash(words, i)>>shift]
		at := *d >> 16
		*d += 1 << 16
		r := uint32(i)
		if rows != nil {
			r = rows[i]
		}
		x.rows[at] = r
		if x.stride == 1 {
			x.words[at] = words[i]
		} else {
			x.words[2*at], x.words[2*at+1] = words[2*i], words[2*i+1]
		}
	}
	unique := true
	lo := uint64(base)
	for b := first; b < end; b++ {
		hi := dir[b] >> 16
		if hi-lo > 1 {
			unique = x.groupBucket(int(lo), int(hi)) && unique
		}
		lo = hi
	}
	return unique
}

// groupBucket puts the rows of each key of a bucket together, in their order, and
// reports whether no key has two.
func (x *joinIndex) groupBucket(lo, hi int) (unique bool) {
	same, twice := true, false
	for i := lo + 1; i < hi; i++ {
		eq := x.equal(i-1, i)
		same, twice = same && eq, twice || eq
	}
	if same {
		return false
	}
	if hi-lo == 2 {
		return true
	}
	if !twice && hi-lo <= 8 {
		for i := lo; i < hi && !twice; i++ {
			for k := i + 2; k < hi && !twice; k++ {
				twice = x.equal(i, k)
			}
		}
		if !twice {
			return true
		}
	}
	unique = true
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
			unique = false
		}
	}
	return unique
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
