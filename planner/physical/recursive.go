package physical

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
)

// Recursive passes Seed's rows, then runs Step over what came last, round by
// round, until a round gives nothing. More than Max rounds are an error. All of
// Step between it and the WorkTable is in the same stage.
type Recursive struct {
	Seed, Step Node
	ID         int
	All        bool // duplicates stay
	Max        int
	Out        *arrow.Schema
}

// WorkTable reads the last round of the Recursive of the same ID.
type WorkTable struct {
	ID  int
	Out *arrow.Schema
}

func (*Recursive) node() {}
func (*WorkTable) node() {}

// Schema returns the columns, one method for each node.

func (n *Recursive) Schema() *arrow.Schema { return n.Out }
func (n *WorkTable) Schema() *arrow.Schema { return n.Out }

// Inputs returns what is read, one method for each node.

func (n *Recursive) Inputs() []Node { return []Node{n.Seed, n.Step} }
func (n *WorkTable) Inputs() []Node { return nil }

func (n *Recursive) String() string {
	s := fmt.Sprintf("Recursive %d", n.ID)
	if n.All {
		s += " all"
	}
	return s
}

func (n *WorkTable) String() string { return fmt.Sprintf("WorkTable %d", n.ID) }
