package physical

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
)

// LookupJoin asks Source, a table of an outside system, for the rows whose columns On
// equal Keys of the rows of Input, and runs Body, which joins the rows of WorkTable Left
// with those found, in WorkTable Right. What was found is logged by the source, so that
// a batch that runs again finds the same.
type LookupJoin struct {
	Input       Node // it only grows
	Source      string
	Table       string
	Columns     []int       // positions in the source's schema that Right has; nil means all
	On          []int       // positions in the source's schema
	Keys        []expr.Expr // over Input
	Left, Right int         // IDs of the WorkTables that Body reads
	Body        Node
}

func (*LookupJoin) node() {}

// Schema returns what Body gives.
func (n *LookupJoin) Schema() *arrow.Schema { return n.Body.Schema() }

// Inputs returns the input and the body.
func (n *LookupJoin) Inputs() []Node { return []Node{n.Input, n.Body} }

func (n *LookupJoin) String() string {
	return fmt.Sprintf("LookupJoin %s by [%s]", n.Table, list(n.Keys))
}
