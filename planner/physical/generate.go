package physical

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// Generate makes rows of the elements of arrays and maps, see logical.Generate.
type Generate struct {
	Input  Node
	Args   []expr.Expr
	Inline bool
	Pos    logical.GeneratePos
	Outer  bool
	Keep   []int         // Input's columns that are passed on; nil for all
	Out    *arrow.Schema // the kept columns, then those made
}

// Range makes whole numbers from Start up to, not with, End, in the stage's
// first task.
type Range struct {
	Start, End, Step int64
	Out              *arrow.Schema
}

// LimitBy passes, of the rows with equal By, Count after skipping Offset, in the
// order in which they come. A negative Count passes all.
type LimitBy struct {
	Input         Node
	By            []expr.Expr
	Count, Offset int64
}

func (*Generate) node() {}
func (*Range) node()    {}
func (*LimitBy) node()  {}

// Schema returns the columns, one method for each node.

func (n *Generate) Schema() *arrow.Schema { return n.Out }
func (n *Range) Schema() *arrow.Schema    { return n.Out }
func (n *LimitBy) Schema() *arrow.Schema  { return n.Input.Schema() }

// Inputs returns what is read, one method for each node.

func (n *Generate) Inputs() []Node { return []Node{n.Input} }
func (n *Range) Inputs() []Node    { return nil }
func (n *LimitBy) Inputs() []Node  { return []Node{n.Input} }

func (n *Generate) String() string {
	s := "Generate "
	if n.Inline {
		s += "inline "
	}
	s += list(n.Args)
	if n.Outer {
		s += " outer"
	}
	return s
}

func (n *Range) String() string { return fmt.Sprintf("Range %d to %d by %d", n.Start, n.End, n.Step) }

func (n *LimitBy) String() string {
	s := fmt.Sprintf("LimitBy [%s] %d", list(n.By), n.Count)
	if n.Offset > 0 {
		s += fmt.Sprintf(" offset %d", n.Offset)
	}
	return s
}
