package physical

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
)

// FirstWithin passes the first row with each key, and forgets the key when the
// row's Time and Delay are at the watermark.
type FirstWithin struct {
	Input    Node // it only grows
	Keys     []expr.Expr
	Time     expr.Expr
	Delay    int64 // microseconds
	Operator string
}

func (*FirstWithin) node() {}

// Schema returns the input's columns.
func (n *FirstWithin) Schema() *arrow.Schema { return n.Input.Schema() }

// Inputs returns the only one.
func (n *FirstWithin) Inputs() []Node { return []Node{n.Input} }

func (n *FirstWithin) String() string {
	return "FirstWithin " + n.Operator + " by [" + list(n.Keys) + "] for " + micros(n.Delay) + " from " + n.Time.String()
}
