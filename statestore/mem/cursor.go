package mem

import (
	"math"
	"slices"
	"strings"
)

// cursor is a way through a tree to one of its leaves. Keys that come in order are
// mostly found where the last one was. It is used by one goroutine.
type cursor struct {
	t    *tree
	path [maxDepth]step // path[0] is the root
	at   bounds         // of the leaf
	low  uint64         // the first bytes of the leaf's bounds, by which most keys are told
	high uint64         // to belong there
	set  bool           // whether path and at are
	row  Row            // what was returned last
}

type step struct {
	n *node
	i int // of the child taken
	b bounds
}

func (c *cursor) leaf() *node { return c.path[c.t.depth].n }

// seek goes to the leaf that a key belongs to.
func (c *cursor) seek(key string) *node {
	if c.set {
		if h := head(key, 0); h > c.low && h < c.high || c.at.contain(key) {
			return c.leaf()
		}
	}
	n, b := c.t.root, bounds{}
	for d := range c.t.depth {
		i := n.towards(key)
		c.path[d] = step{n: n, i: i, b: b}
		b = b.child(n, i)
		n = n.kids[i]
	}
	c.path[c.t.depth] = step{n: n, b: b}
	c.set = true
	c.bound(b)
	return n
}

// bound sets the bounds of the leaf.
func (c *cursor) bound(b bounds) {
	c.at, c.low, c.high = b, 0, math.MaxUint64
	if b.hasLow {
		c.low = head(b.low, 0)
	}
	if b.hasHigh {
		c.high = head(b.high, 0)
	}
}

// get returns the row of a key, nil if there is none. It is valid until the cursor
// is used again.
func (c *cursor) get(key string) *Row {
	n := c.seek(key)
	i, ok := n.place(key)
	if !ok {
		return nil
	}
	return c.rowAt(n, i)
}

// rowAt returns a row of a leaf.
func (c *cursor) rowAt(n *node, i int) *Row {
	c.row = Row{key: n.key(i), value: n.value(i), mark: n.marks[i]}
	return &c.row
}

// scan visits the rows from a key on, in order, until visit returns false.
func (c *cursor) scan(start string, visit func(r *Row) bool) {
	n := c.seek(start)
	i, _ := n.place(start)
	var r Row
	for {
		for ; i < n.n; i++ {
			if r = (Row{key: n.key(i), value: n.value(i), mark: n.marks[i]}); !visit(&r) {
				return
			}
		}
		if n = c.next(); n == nil {
			return
		}
		i = 0
	}
}

// next goes on to the leaf behind, nil at the end.
func (c *cursor) next() *node {
	d := c.t.depth - 1
	for ; d >= 0 && c.path[d].i+1 >= c.path[d].n.n; d-- {
	}
	if d < 0 {
		c.set = false
		return nil
	}
	c.path[d].i++
	for ; d < c.t.depth; d++ {
		s := &c.path[d]
		c.path[d+1] = step{n: s.n.kids[s.i], b: s.b.child(s.n, s.i)}
	}
	c.bound(c.path[d].b)
	return c.path[d].n
}

// own makes the nodes of the path ones that may be written to, and leaves room for
// so many more bytes in the leaf, whose row at drop is to be written again.
func (c *cursor) own(need, drop int) {
	for d := 0; d <= c.t.depth; d++ {
		at := -1
		if d == c.t.depth {
			at = drop
		}
		n := c.t.own(c.path[d].n, need, at)
		if n == c.path[d].n {
			continue
		}
		c.path[d].n = n
		if d == 0 {
			c.t.root = n
		} else {
			c.path[d-1].n.kids[c.path[d-1].i] = n
		}
	}
}

// put sets the row at i of the leaf that the cursor is at, or inserts it there. A
// leaf that becomes too large is cut in two; rows that come in ascending order,
// each at the end, leave full leaves behind. A value of the same length is written
// over the old one, which nobody else sees: the leaf is this tree's own.
func (c *cursor) put(i int, exists bool, key, value []byte, mark int64) {
	need := len(key) + len(value)
	drop := -1
	if exists {
		if int(c.leaf().vlen[i]) == len(value) {
			c.own(0, -1)
			n := c.leaf()
			copy(n.value(i), value)
			n.marks[i] = mark
			return
		}
		drop = i
	}
	c.own(need, drop)
	n := c.leaf()
	if exists {
		c.t.replace(n, i, key, value, mark)
		if n.live > leafBytesMax && n.n > 1 {
			c.split(c.t.cut(n, n.n/2))
		}
		return
	}
	c.t.size++
	if n.n == 0 || n.n < fan && n.live+need <= leafBytesMax {
		c.t.insert(n, i, key, value, mark)
		return
	}
	left := (n.n + 1) / 2 // rows, the new one counted
	if i == n.n {
		left = n.n
	}
	if i < left {
		right := c.t.cut(n, left-1)
		c.t.insert(n, i, key, value, mark)
		c.split(right)
		return
	}
	right := c.t.cut(n, left)
	c.t.insert(right, i-left, key, value, mark)
	c.split(right)
}

// split puts the right half of the path's leaf behind it, and cuts in two what is
// full above.
func (c *cursor) split(right *node) {
	c.set = false
	t := c.t
	n, b := c.path[t.depth].n, c.path[t.depth].b
	a, z := text(n.key(n.n-1)), text(right.key(0))
	low := strings.Clone(z[:shared(a, z)+1])
	for d := t.depth; ; d-- {
		lb, rb := b, b
		lb.high, lb.hasHigh, rb.low, rb.hasLow = low, true, low, true
		n.limit(&lb)
		right.limit(&rb)
		if d == 0 {
			t.root = &node{owner: t.owner, n: 2, kids: append(make([]*node, 0, fan+1), n, right), lows: append(make([]string, 0, fan+1), "", low)}
			t.root.limit(&bounds{})
			t.depth++
			t.bytes += nodeBytes
			t.fresh += nodeBytes
			return
		}
		up := c.path[d-1]
		up.n.kids, up.n.lows = slices.Insert(up.n.kids, up.i+1, right), slices.Insert(up.n.lows, up.i+1, low)
		if up.n.n < fan {
			up.n.n++
			copy(up.n.heads[up.i+2:up.n.n], up.n.heads[up.i+1:up.n.n-1])
			up.n.heads[up.i+1] = head(low, up.n.skip)
			return
		}
		n, b = up.n, up.b
		const half = fan/2 + 1
		low = n.lows[half]
		right = &node{owner: t.owner}
		right.kids = append(make([]*node, 0, fan+1), n.kids[half:]...)
		right.lows = append(make([]string, 0, fan+1), n.lows[half:]...)
		clear(n.kids[half:])
		clear(n.lows[half:])
		n.kids, n.lows, n.n = n.kids[:half], n.lows[:half], half
		right.n = len(right.kids)
		t.bytes += nodeBytes
		t.fresh += nodeBytes
	}
}

// remove takes the row at i out of the leaf that the cursor is at.
func (c *cursor) remove(i int) {
	c.own(0, -1)
	c.leaf().remove(i)
	c.t.size--
	for d := c.t.depth; d > 0 && c.path[d].n.n <= fan/4; d-- {
		if !c.join(d) {
			return
		}
	}
	for c.t.depth > 0 && c.t.root.n == 1 {
		c.t.bytes -= nodeBytes
		c.t.root = c.t.own(c.t.root.kids[0], 0, -1)
		c.t.depth--
		c.set = false
	}
}

// join puts the node at depth d of the path together with a neighbour, if there is
// room for both in one. It reports whether the node above has become smaller.
func (c *cursor) join(d int) bool {
	up := &c.path[d-1]
	i := up.i
	if i+1 == up.n.n || i > 0 && up.n.kids[i-1].n < up.n.kids[i+1].n {
		i--
	}
	if i < 0 {
		return false
	}
	// A node that is nearly full again would be cut at once.
	if both := up.n.kids[i].n + up.n.kids[i+1].n; both > fan*3/4 && c.path[d].n.n > 0 {
		return false
	}
	if up.n.kids[i].live+up.n.kids[i+1].live > leafBytesMax*3/4 && c.path[d].n.n > 0 {
		return false
	}
	c.set = false
	right := up.n.kids[i+1]
	left := c.t.own(up.n.kids[i], right.live, -1)
	if left.kids == nil {
		c.t.move(left, right)
	} else {
		left.lows = append(append(left.lows, up.n.lows[i+1]), right.lows[1:]...)
		left.kids = append(left.kids, right.kids...)
		c.t.bytes -= nodeBytes
	}
	left.n += right.n
	up.n.kids[i] = left
	copy(up.n.kids[i+1:], up.n.kids[i+2:])
	copy(up.n.lows[i+1:], up.n.lows[i+2:])
	up.n.n--
	up.n.kids[up.n.n], up.n.lows[up.n.n] = nil, ""
	up.n.kids, up.n.lows = up.n.kids[:up.n.n], up.n.lows[:up.n.n]
	up.n.limit(&up.b)
	b := up.b.child(up.n, i)
	left.limit(&b)
	return true
}
