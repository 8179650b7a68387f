package physical

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
)

// Versions runs Body, which gives each row the last Value of its partition so far
// in the order of Time, over the rows that the watermark has passed. Until then
// they wait; of what is over, the last row with a Value is kept for each partition.
type Versions struct {
	Input    Node // it only grows
	Keys     []expr.Expr
	Time     expr.Expr
	Shift    int64 // microseconds added to Time first
	Value    int   // column of the input
	Table    int   // ID of the WorkTable that Body reads
	Body     Node
	Operator string
}

func (*Versions) node() {}

// Schema returns what Body gives.
func (n *Versions) Schema() *arrow.Schema { return n.Body.Schema() }

// Inputs returns the input and the body.
func (n *Versions) Inputs() []Node { return []Node{n.Input, n.Body} }

func (n *Versions) String() string {
	return "Versions " + n.Operator + " by [" + list(n.Keys) + "] " + n.Time.String()
}
