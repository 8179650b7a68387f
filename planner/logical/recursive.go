package logical

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
)

// Recursive is WITH RECURSIVE: the rows of Seed, then those of Step again and
// again, each time over the rows that the last time gave, until there are none.
// Without All a row comes out, and is gone on from, only once.
type Recursive struct {
	Seed, Step Node
	ID         int // of the WorkTable that Step reads
	All        bool
	Name       string
	Max        int // rounds that may add rows, if above zero

	memo memo
}

// WorkTable is what the last round of the Recursive of the same ID gave.
type WorkTable struct {
	ID   int
	Name string
	Out  *arrow.Schema
}

func (*Recursive) node() {}
func (*WorkTable) node() {}

// Schema returns the seed's columns; the step's may be NULL where the seed's are not.
func (n *Recursive) Schema() *arrow.Schema { return n.memo.get(n, n.schema) }

func (n *Recursive) schema() *arrow.Schema { return nullable(n.Seed.Schema()) }

// Schema returns the declared columns.
func (n *WorkTable) Schema() *arrow.Schema { return n.Out }

func nullable(s *arrow.Schema) *arrow.Schema {
	fields := append([]arrow.Field{}, s.Fields()...)
	for i := range fields {
		fields[i].Nullable = true
	}
	return arrow.NewSchema(fields, nil)
}

// Inputs and WithInputs, a pair for each node.

func (n *Recursive) Inputs() []Node { return []Node{n.Seed, n.Step} }
func (n *WorkTable) Inputs() []Node { return nil }

func (n *Recursive) WithInputs(in []Node) Node {
	c := *n
	c.Seed, c.Step = in[0], in[1]
	return &c
}
func (n *WorkTable) WithInputs([]Node) Node { return n }

func (n *Recursive) String() string {
	if n.All {
		return fmt.Sprintf("Recursive %s all", n.Name)
	}
	return "Recursive " + n.Name
}

func (n *WorkTable) String() string { return "WorkTable " + n.Name }
