package mem

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"unsafe"

	"github.com/sluice-stream/sluice/batch"
)

// row is a key with its value in one text, and the version that wrote it last, by
// which a transaction sees that it has noted the key as changed already.
type row struct {
	text string
	klen int
	ver  batch.ID
}

func (r *row) key() string   { return r.text[:r.klen] }
func (r *row) value() string { return r.text[r.klen:] }

func newRow(key, value []byte, ver batch.ID) row {
	b := make([]byte, len(key)+len(value))
	copy(b, key)
	copy(b[len(key):], value)
	return row{text: text(b), klen: len(key), ver: ver}
}

// fan is the most rows or children of a node. A batch that touches keys all over
// the state copies a leaf for each, so nodes are small. The lists have room for one
// more, which is there for a moment before the node is cut in two.
const fan = 32

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
type node struct {
	owner *owner
	n     int
	skip  int
	heads [fan]uint64 // of a leaf's keys, or of lows; heads[0] of the latter means nothing
	rows  []row
	kids  []*node
	lows  []string // the least key that may be in each child; lows[0] means nothing
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
}

func newTree() *tree {
	o := &owner{}
	return &tree{root: &node{owner: o}, owner: o}
}

// copy returns a tree that may be written to; t must not be from now on.
func (t *tree) copy() *tree {
	c := *t
	c.owner = &owner{}
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

// place returns where a key is, or would be, among a leaf's rows.
func (n *node) place(key string) (int, bool) {
	lo, hi := n.equals(0, head(key, n.skip))
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		switch c := strings.Compare(n.rows[m].key(), key); {
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
	for i := range n.rows {
		n.heads[i] = head(n.rows[i].key(), n.skip)
	}
	for i := 1; i < len(n.lows); i++ {
		n.heads[i] = head(n.lows[i], n.skip)
	}
}

// own returns a node that the tree may write to.
func (t *tree) own(n *node) *node {
	if n.owner == t.owner {
		return n
	}
	c := &node{owner: t.owner, n: n.n, skip: n.skip, heads: n.heads}
	if n.kids == nil {
		c.rows = append(make([]row, 0, fan+1), n.rows...)
	} else {
		c.kids = append(make([]*node, 0, fan+1), n.kids...)
		c.lows = append(make([]string, 0, fan+1), n.lows...)
	}
	return c
}

// Get returns the row of a key, nil if there is none. It is valid until the tree
// is written to.
func (t *tree) Get(key string) *row {
	n := t.root
	for range t.depth {
		n = n.kids[n.towards(key)]
	}
	if i, ok := n.place(key); ok {
		return &n.rows[i]
	}
	return nil
}

// Scan visits all rows in order until visit returns false.
func (t *tree) Scan(visit func(r *row) bool) {
	c := cursor{t: t}
	c.scan("", visit)
}
