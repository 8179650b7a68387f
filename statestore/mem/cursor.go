package mem

import (
	"slices"
	"strings"
)

// cursor is a way through a tree to one of its leaves. Keys that come in order are
// mostly found where the last one was. It is used by one goroutine.
type cursor struct {
	t    *tree
	path [maxDepth]step // path[0] is the root
	at   bounds         // of the leaf
	set  bool           // whether path and at are
}

type step struct {
	n *node
	i int // of the child taken
	b bounds
}

func (c *cursor) leaf() *node { return c.path[c.t.depth].n }

// seek goes to the leaf that a key belongs to.
func (c *cursor) seek(key string) *node {
	if c.set && c.at.contain(key) {
		return c.leaf()
	}
	n, b := c.t.root, bounds{}
	for d := range c.t.depth {
		i := n.towards(key)
		c.path[d] = step{n: n, i: i, b: b}
		b = b.child(n, i)
		n = n.kids[i]
	}
	c.path[c.t.depth] = step{n: n, b: b}
	c.at, c.set = b, true
	return n
}

// get returns the row of a key, nil if there is none.
func (c *cursor) get(key string) *row {
	n := c.seek(key)
	if i, ok := n.place(key); ok {
		return &n.rows[i]
	}
	return nil
}

// scan visits the rows from a key on, in order, until visit returns false.
func (c *cursor) scan(start string, visit func(r *row) bool) {
	n := c.seek(start)
	i, _ := n.place(start)
	for {
		for ; i < n.n; i++ {
			if !visit(&n.rows[i]) {
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
	c.at = c.path[d].b
	return c.path[d].n
}

// own makes the nodes of the path ones that may be written to.
func (c *cursor) own() {
	for d := 0; d <= c.t.depth; d++ {
		n := c.t.own(c.path[d].n)
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

// put sets the row at i of the leaf that the cursor is at, or inserts it there.
func (c *cursor) put(i int, r row, exists bool) {
	c.own()
	n := c.leaf()
	if exists {
		n.rows[i] = r
		return
	}
	c.t.size++
	n.rows = slices.Insert(n.rows, i, r)
	if n.n < fan {
		copy(n.heads[i+1:n.n+1], n.heads[i:n.n])
		n.heads[i] = head(r.key(), n.skip)
		n.n++
	} else {
		c.split(i == fan)
	}
}

// split cuts the leaf of the path in two, and what is full above it. Rows that
// come in ascending order, the last at the end, leave full leaves behind.
func (c *cursor) split(last bool) {
	c.set = false
	t := c.t
	for d := t.depth; ; d-- {
		n, b := c.path[d].n, c.path[d].b
		right := &node{owner: t.owner}
		low := ""
		half := fan/2 + 1
		if n.kids == nil {
			if last {
				half = fan
			}
			a, z := n.rows[half-1].key(), n.rows[half].key()
			low = strings.Clone(z[:shared(a, z)+1])
			right.rows = append(make([]row, 0, fan+1), n.rows[half:]...)
			clear(n.rows[half:])
			n.rows = n.rows[:half]
			right.n = len(right.rows)
		} else {
			low = n.lows[half]
			right.kids = append(make([]*node, 0, fan+1), n.kids[half:]...)
			right.lows = append(make([]string, 0, fan+1), n.lows[half:]...)
			clear(n.kids[half:])
			clear(n.lows[half:])
			n.kids, n.lows = n.kids[:half], n.lows[:half]
			right.n = len(right.kids)
		}
		n.n = half
		lb, rb := b, b
		lb.high, lb.hasHigh, rb.low, rb.hasLow = low, true, low, true
		n.limit(&lb)
		right.limit(&rb)
		if d == 0 {
			t.root = &node{owner: t.owner, n: 2, kids: append(make([]*node, 0, fan+1), n, right), lows: append(make([]string, 0, fan+1), "", low)}
			t.root.limit(&bounds{})
			t.depth++
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
	}
}

// remove takes the row at i out of the leaf that the cursor is at.
func (c *cursor) remove(i int) {
	c.own()
	n := c.leaf()
	copy(n.rows[i:], n.rows[i+1:])
	n.rows[n.n-1] = row{}
	n.rows = n.rows[:n.n-1]
	copy(n.heads[i:n.n-1], n.heads[i+1:n.n])
	n.n--
	c.t.size--
	for d := c.t.depth; d > 0 && c.path[d].n.n <= fan/4; d-- {
		if !c.join(d) {
			return
		}
	}
	for c.t.depth > 0 && c.t.root.n == 1 {
		c.t.root = c.t.own(c.t.root.kids[0])
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
	c.set = false
	left, right := c.t.own(up.n.kids[i]), up.n.kids[i+1]
	if left.kids == nil {
		left.rows = append(left.rows, right.rows...)
	} else {
		left.lows = append(append(left.lows, up.n.lows[i+1]), right.lows[1:]...)
		left.kids = append(left.kids, right.kids...)
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
