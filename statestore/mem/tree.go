package mem

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"unsafe"
)

// Row is a row of a tree. Its mark is the owner's to use: by it a transaction
// sees that it has noted the key as changed already.
type Row struct {
	key, value []byte
	mark       int64
}

// fan is the most rows or children of a node. A batch that touches keys all over
// the state copies a leaf for each, so nodes are small. The lists of children have
// room for one more, which is there for a moment before the node is cut in two.
const fan = 32

// leafBytesMax is from what size on a leaf of several rows is cut in two: a change
// of one row copies the others with it.
const leafBytesMax = 4 << 10

// nodeBytes is what a node takes besides the text of its rows.
const nodeBytes = 1 << 10

// maxDepth is that of a tree with more nodes than memory can hold.
const maxDepth = 24

// node is a leaf, with rows, or has children. Keys in it share their first skip
// bytes, which follows from the separators around it; heads are the eight bytes
// behind those, so that a search reads the keys themselves only to decide
// between equal heads.
//
// The tree is written from keys in memory all over the heap: reading one costs a
// cache miss, and comparing keys in each step of each search was most of the time
// of a batch over large state.
//
// The rows of a leaf have no pointers: their keys and values lie behind each other
// in one text, in no order. It is appended to, and made anew without what has been
// replaced when it is full or copied; only a value of the same length is written over
// the old one. So what was handed out of a tree stays as it is once that is copied,
// and until then as long as the row is not written.
type node struct {
	owner *owner
	data  []byte // of a leaf: keys and values
	kids  []*node
	lows  []string // the least key that may be in each child; lows[0] means nothing

	n     int
	skip  int
	live  int         // bytes of data that belong to rows
	heads [fan]uint64 // of a leaf's keys, or of lows; heads[0] of the latter means nothing
	off   [fan]uint32 // of a leaf's rows in data
	klen  [fan]uint32
	vlen  [fan]uint32
	marks [fan]int64
}

// owner says which tree may write to a node: others copy it first.
type owner struct{ _ byte }

// tree is a map in key order. Copies are made at once and share what neither has
// written since.
type tree struct {
	root  *node
	depth int // of the leaves below the root
	size  int
	owner *owner
	bytes int64 // of all nodes
	fresh int64 // of those that the tree does not share with the one that it is a copy of
}

func newTree() *tree {
	o := &owner{}
	return &tree{root: &node{owner: o}, owner: o, bytes: nodeBytes, fresh: nodeBytes}
}

// copy returns a tree that may be written to; t must not be from now on.
func (t *tree) copy() *tree {
	c := *t
	c.owner, c.fresh = &owner{}, 0
	return &c
}

// Len is the number of rows.
func (t *tree) Len() int { return t.size }

// head is the eight bytes of a key behind those that all keys of a node share.
func head(key string, skip int) uint64 {
	if len(key) >= skip+8 {
		return binary.BigEndian.Uint64(unsafe.Slice(unsafe.StringData(key), len(key))[skip:])
	}
	var h uint64
	for i := skip; i < len(key); i++ {
		h |= uint64(key[i]) << (56 - 8*(i-skip))
	}
	return h
}

// shared is how many bytes two keys have in common at their start.
func shared(a, b string) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+8 <= n; i += 8 {
		if x := head(a, i) ^ head(b, i); x != 0 {
			return i + bits.LeadingZeros64(x)/8
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// bounds are the separators around a node: low <= key < high.
type bounds struct {
	low, high       string
	hasLow, hasHigh bool
}

func (b *bounds) skip() int {
	if !b.hasLow || !b.hasHigh {
		return 0
	}
	return shared(b.low, b.high)
}

func (b *bounds) contain(key string) bool {
	return (!b.hasLow || key >= b.low) && (!b.hasHigh || key < b.high)
}

// child are the bounds of a node's child.
func (b *bounds) child(n *node, i int) bounds {
	c := *b
	if i > 0 {
		c.low, c.hasLow = n.lows[i], true
	}
	if i+1 < n.n {
		c.high, c.hasHigh = n.lows[i+1], true
	}
	return c
}

// equals returns the heads from lo on that are below h and those that are not
// above it: the keys between have to be compared.
func (n *node) equals(lo int, h uint64) (from, to int) {
	hi := n.n
	for lo < hi {
		if m := int(uint(lo+hi) >> 1); n.heads[m] < h {
			lo = m + 1
		} else {
			hi = m
		}
	}
	for to = lo; to < n.n && n.heads[to] == h; to++ {
	}
	return lo, to
}

// key and value are those of a leaf's row.
func (n *node) key(i int) []byte {
	from, to := n.off[i], n.off[i]+n.klen[i]
	return n.data[from:to:to]
}

func (n *node) value(i int) []byte {
	from := n.off[i] + n.klen[i]
	to := from + n.vlen[i]
	return n.data[from:to:to]
}

func (n *node) size(i int) int { return int(n.klen[i]) + int(n.vlen[i]) }

// place returns where a key is, or would be, among a leaf's rows.
func (n *node) place(key string) (int, bool) {
	lo, hi := n.equals(0, head(key, n.skip))
	if hi == lo+1 && len(key) <= n.skip+8 && int(n.klen[lo]) == len(key) {
		return lo, true // the head is all that is not shared
	}
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		switch c := strings.Compare(text(n.key(m)), key); {
		case c < 0:
			lo = m + 1
		case c > 0:
			hi = m
		default:
			return m, true
		}
	}
	return lo, false
}

// towards returns the child that a key belongs to.
func (n *node) towards(key string) int {
	lo, hi := n.equals(1, head(key, n.skip))
	for lo < hi {
		if m := int(uint(lo+hi) >> 1); n.lows[m] <= key {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo - 1
}

// limit sets the bytes that all keys of a node share by its bounds.
func (n *node) limit(b *bounds) {
	n.skip = b.skip()
	if n.kids == nil {
		for i := range n.n {
			n.heads[i] = head(text(n.key(i)), n.skip)
		}
		return
	}
	for i := 1; i < len(n.lows); i++ {
		n.heads[i] = head(n.lows[i], n.skip)
	}
}

// own returns a node that the tree may write to. A leaf has room for so many more
// bytes then, and has lost the text of the row at drop, if that is not negative,
// which is to be written again.
func (t *tree) own(n *node, need, drop int) *node {
	if n.owner == t.owner {
		return n
	}
	c := new(node)
	*c = *n
	c.owner = t.owner
	t.fresh += nodeBytes
	if n.kids == nil {
		t.bytes -= int64(cap(n.data))
		c.data = nil
		if drop >= 0 {
			c.live -= c.size(drop)
			c.klen[drop], c.vlen[drop] = 0, 0
		}
		t.pack(c, n.data, need)
	} else {
		c.kids = append(make([]*node, 0, fan+1), n.kids...)
		c.lows = append(make([]string, 0, fan+1), n.lows...)
	}
	return c
}

// pack copies the texts of a leaf's rows out of data, where they are, to a new one
// with room for so many more bytes and for what comes after.
func (t *tree) pack(n *node, data []byte, need int) {
	old := cap(n.data)
	size := n.live + need
	// A leaf that is nearly full is soon cut in two: it needs no room for more.
	to := make([]byte, 0, size+min(size/4, max(leafBytesMax-size, 0)))
	if len(data) == n.live {
		to = append(to, data...)
	} else {
		// Rows that lie behind each other are copied at once.
		from, end := uint32(0), uint32(0)
		for i := range n.n {
			if n.off[i] != end {
				to = append(to, data[from:end]...)
				from, end = n.off[i], n.off[i]
			}
			n.off[i] = uint32(len(to)) + end - from
			end += n.klen[i] + n.vlen[i]
		}
		to = append(to, data[from:end]...)
	}
	n.data = to
	t.bytes += int64(cap(to) - old)
	t.fresh += int64(cap(to) - old)
}

// write appends the text of a row to a leaf and makes it that of the row at i.
func (t *tree) write(n *node, i int, key, value []byte, mark int64) {
	need := len(key) + len(value)
	if cap(n.data)-len(n.data) < need {
		t.pack(n, n.data, need)
	}
	n.off[i], n.klen[i], n.vlen[i], n.marks[i] = uint32(len(n.data)), uint32(len(key)), uint32(len(value)), mark
	n.data = append(append(n.data, key...), value...)
	n.live += need
}

// replace writes the row at i of a leaf again.
func (t *tree) replace(n *node, i int, key, value []byte, mark int64) {
	n.live -= n.size(i)
	n.klen[i], n.vlen[i] = 0, 0
	t.write(n, i, key, value, mark)
}

// insert puts a row at i of a leaf that is not full.
func (t *tree) insert(n *node, i int, key, value []byte, mark int64) {
	copy(n.heads[i+1:n.n+1], n.heads[i:n.n])
	copy(n.off[i+1:n.n+1], n.off[i:n.n])
	copy(n.klen[i+1:n.n+1], n.klen[i:n.n])
	copy(n.vlen[i+1:n.n+1], n.vlen[i:n.n])
	copy(n.marks[i+1:n.n+1], n.marks[i:n.n])
	n.n++
	n.off[i], n.klen[i], n.vlen[i] = 0, 0, 0 // write may move the others, and has nothing to move here
	n.heads[i] = head(text(key), n.skip)
	t.write(n, i, key, value, mark)
}

// cut takes the rows from i on out of a leaf and returns a new one with them.
func (t *tree) cut(n *node, i int) *node {
	c := &node{owner: t.owner, n: n.n - i, skip: n.skip}
	t.bytes += nodeBytes
	t.fresh += nodeBytes
	copy(c.heads[:], n.heads[i:n.n])
	copy(c.off[:], n.off[i:n.n])
	copy(c.klen[:], n.klen[i:n.n])
	copy(c.vlen[:], n.vlen[i:n.n])
	copy(c.marks[:], n.marks[i:n.n])
	for j := range c.n {
		c.live += c.size(j)
	}
	n.live -= c.live
	n.n = i
	if c.n > 0 {
		t.pack(c, n.data, 0)
	}
	return c
}

// move appends the rows of one leaf to those of another.
func (t *tree) move(to, from *node) {
	if cap(to.data)-len(to.data) < from.live {
		t.pack(to, to.data, from.live)
	}
	for i := range from.n {
		j := to.n + i
		to.off[j], to.klen[j], to.vlen[j], to.marks[j] = uint32(len(to.data)), from.klen[i], from.vlen[i], from.marks[i]
		to.data = append(append(to.data, from.key(i)...), from.value(i)...)
	}
	to.live += from.live
	t.bytes -= nodeBytes + int64(cap(from.data))
	if from.owner == t.owner {
		t.fresh -= nodeBytes + int64(cap(from.data))
	}
}

// remove takes the row at i out of a leaf.
func (n *node) remove(i int) {
	n.live -= n.size(i)
	copy(n.heads[i:n.n-1], n.heads[i+1:n.n])
	copy(n.off[i:n.n-1], n.off[i+1:n.n])
	copy(n.klen[i:n.n-1], n.klen[i+1:n.n])
	copy(n.vlen[i:n.n-1], n.vlen[i+1:n.n])
	copy(n.marks[i:n.n-1], n.marks[i+1:n.n])
	n.n--
}

// Scan visits all rows in order until visit returns false. The row is valid
// inside visit only, its key and value until it is written.
func (t *tree) Scan(visit func(r *Row) bool) {
	c := cursor{t: t}
	c.scan("", visit)
}
