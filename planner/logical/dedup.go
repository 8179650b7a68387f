package logical

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// Dedup keeps the first row of those with equal values in the columns Keys, which
// one is first is not said. Within says that rows further apart than the delay of
// the watermark may both come out, so that a stream need not remember keys longer.
type Dedup struct {
	Input  Node
	Keys   []int
	Within bool
	TTL    TTL
}

func (*Dedup) node() {}

// Schema returns the input's columns.
func (n *Dedup) Schema() *arrow.Schema { return n.Input.Schema() }

// Inputs returns the only one.
func (n *Dedup) Inputs() []Node { return []Node{n.Input} }

// WithInputs replaces it.
func (n *Dedup) WithInputs(in []Node) Node { c := *n; c.Input = in[0]; return &c }

func (n *Dedup) String() string {
	names := make([]string, len(n.Keys))
	for i, k := range n.Keys {
		names[i] = n.Schema().Field(k).Name
	}
	s := "Dedup [" + strings.Join(names, ", ") + "]"
	if n.Within {
		s += " within watermark"
	}
	return s
}
