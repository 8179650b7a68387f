package mem

import "github.com/sluice-stream/sluice/batch"

// Tree is a sorted copy-on-write tree, for stores that keep a part of their rows
// in memory. A copy shares what neither has written since; a tree that was copied
// must not be written to any more.
type Tree = tree

// Cursor is a way into a tree that is fast for keys that come in order. It is
// used by one goroutine.
type Cursor = cursor

// Row is a row of a tree. Its mark is the owner's to use.
type Row = row

// NewTree returns an empty tree.
func NewTree() *Tree { return newTree() }

// Copy returns a tree that may be written to; t must not be from now on.
func (t *tree) Copy() *Tree { return t.copy() }

// Cursor returns a cursor that is nowhere yet.
func (t *tree) Cursor() Cursor { return cursor{t: t} }

// Place looks for a key: its row, nil if there is none, and where it is or would
// be for Set and Remove. Both are valid until the tree is written to.
func (c *cursor) Place(key []byte) (r *Row, at int) {
	leaf := c.seek(text(key))
	at, ok := leaf.place(text(key))
	if !ok {
		return nil, at
	}
	return &leaf.rows[at], at
}

// Set writes a row of the key that Place was just asked for, and returns its key,
// which lives as long as the row is kept.
func (c *cursor) Set(at int, exists bool, key, value []byte, mark int64) string {
	r := newRow(key, value, batch.ID(mark))
	c.put(at, r, exists)
	return r.key()
}

// Remove removes the row that Place has just found.
func (c *cursor) Remove(at int) { c.remove(at) }

// Find returns the row of a key, nil if there is none.
func (c *cursor) Find(key string) *Row { return c.get(key) }

// From visits the rows from a key on, in order, until visit returns false.
func (c *cursor) From(start []byte, visit func(r *Row) bool) { c.scan(text(start), visit) }

// Key and Value may only be read.
func (r *row) Key() []byte   { return bytesOf(r.key()) }
func (r *row) Value() []byte { return bytesOf(r.value()) }

// Mark is what Set was given.
func (r *row) Mark() int64 { return int64(r.ver) }
