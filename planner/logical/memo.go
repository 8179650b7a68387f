package logical

import "github.com/apache/arrow-go/v18/arrow"

// memo keeps what a node's Schema made. A plan is asked for the schemas of its nodes
// at every level by every rule: made anew each time, down to the scans, they would
// cost the cube of a plan's depth.
//
// A node does not change once it is built: who wants another copies it first, sets
// the copy's fields and only then hands it on. A copy carries its original's memo along,
// which names another node and so does not count. Plans belong to one goroutine, as
// each statement binds its own.
type memo struct {
	of     Node
	schema *arrow.Schema
}

// get returns what m holds of n, or makes it.
func (m *memo) get(n Node, build func() *arrow.Schema) *arrow.Schema {
	if m.of != n {
		m.schema = build()
		m.of = n
	}
	return m.schema
}
