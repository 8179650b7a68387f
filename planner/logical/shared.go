package logical

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
)

// Shared is a plan whose rows are used in several places and computed once: all
// Shared of one ID stand for the same rows. Only a rule that runs behind all that
// looks into plans makes it.
type Shared struct {
	Input Node
	ID    int
}

func (*Shared) node() {}

// Schema returns the input's columns.
func (n *Shared) Schema() *arrow.Schema { return n.Input.Schema() }

// Inputs returns the plan.
func (n *Shared) Inputs() []Node { return []Node{n.Input} }

// WithInputs replaces the plan.
func (n *Shared) WithInputs(in []Node) Node { c := *n; c.Input = in[0]; return &c }

func (n *Shared) String() string { return fmt.Sprintf("Shared %d", n.ID) }
