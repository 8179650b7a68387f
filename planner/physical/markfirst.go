package physical

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
)

// MarkFirst appends a boolean column for each mark: whether the row is the first
// of its group with these arguments, among the rows that pass the mark's filter.
// It is what DISTINCT in an aggregate becomes over an input that only grows.
type MarkFirst struct {
	Input    Node
	Keys     []expr.Expr // of the group
	Marks    []Mark
	EndKey   int   // position of the key that tells when a group closes, -1 if there is none
	EndShift int64 // microseconds added to that key to give the end
	Clock    bool  // the end is one of the clock, not of event time
	Operator string
	Out      *arrow.Schema // Input's columns, then one for each mark
}

// Mark is a list of arguments whose first appearances are looked for. A row with
// a NULL among them is never marked.
type Mark struct {
	Args   []expr.Expr
	Filter expr.Expr // nil passes all
}

func (*MarkFirst) node() {}

// Schema returns the input's columns and the marks.
func (n *MarkFirst) Schema() *arrow.Schema { return n.Out }

// Inputs returns the input.
func (n *MarkFirst) Inputs() []Node { return []Node{n.Input} }

func (n *MarkFirst) String() string {
	s := fmt.Sprintf("MarkFirst %s by [%s]", n.Operator, list(n.Keys))
	for _, m := range n.Marks {
		s += " (" + list(m.Args) + ")"
		if m.Filter != nil {
			s += " where " + m.Filter.String()
		}
	}
	return s
}
