package logical

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// Latest stands on an upsert table: of the rows with equal Keys the last one that
// came is the table's, unless it deletes. Only the binder makes one, right above the
// table's own columns and its watermark, and nothing but those goes below it: a row
// that a condition drops there would leave the row before it in place.
type Latest struct {
	Input Node
	Keys  []int
	Table string // whose rows these are
}

func (*Latest) node() {}

// Schema returns the input's columns.
func (n *Latest) Schema() *arrow.Schema { return n.Input.Schema() }

// Inputs returns the only one.
func (n *Latest) Inputs() []Node { return []Node{n.Input} }

// WithInputs replaces it.
func (n *Latest) WithInputs(in []Node) Node { c := *n; c.Input = in[0]; return &c }

func (n *Latest) String() string {
	names := make([]string, len(n.Keys))
	for i, k := range n.Keys {
		names[i] = n.Schema().Field(k).Name
	}
	return "Latest of " + n.Table + " by [" + strings.Join(names, ", ") + "]"
}
