package mem

// Tree is a sorted copy-on-write tree, for stores that keep a part of their rows
// in memory. A copy shares what neither has written since; a tree that was copied
// must not be written to any more.
type Tree = tree

// Cursor is a way into a tree that is fast for keys that come in order. It is
// used by one goroutine.
type Cursor = cursor

// NewTree returns an empty tree.
func NewTree() *Tree { return newTree() }

// Copy returns a tree that may be written to; t must not be from now on.
func (t *tree) Copy() *Tree { return t.copy() }

// Cursor returns a cursor that is nowhere yet.
func (t *tree) Cursor() Cursor { return cursor{t: t} }

// Bytes is what the tree takes, Fresh how much of that it does not share with the
// one that it is a copy of.
func (t *tree) Bytes() int64 { return t.bytes }
func (t *tree) Fresh() int64 { return t.fresh }

// Place looks for a key: its row, nil if there is none, and where it is or would
// be for Set and Remove. Both are valid until the cursor is used again, the row's
// key and value until the row is written.
func (c *cursor) Place(key []byte) (r *Row, at int) {
	leaf := c.seek(text(key))
	at, ok := leaf.place(text(key))
	if !ok {
		return nil, at
	}
	return c.rowAt(leaf, at), at
}

// Set writes a row of the key that Place was just asked for.
func (c *cursor) Set(at int, exists bool, key, value []byte, mark int64) {
	c.put(at, exists, key, value, mark)
}

// Remove removes the row that Place has just found.
func (c *cursor) Remove(at int) { c.remove(at) }

// Find returns the row of a key, nil if there is none.
func (c *cursor) Find(key []byte) *Row { return c.get(text(key)) }

// From visits the rows from a key on, in order, until visit returns false. The row
// is valid inside visit only, its key and value until it is written.
func (c *cursor) From(start []byte, visit func(r *Row) bool) { c.scan(text(start), visit) }

// Key and Value may only be read.
func (r *Row) Key() []byte   { return r.key }
func (r *Row) Value() []byte { return r.value }

// Mark is what Set was given.
func (r *Row) Mark() int64 { return r.mark }
