package logical

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
)

// Observe passes its input on and computes aggregates over the rows that it sees, for
// whoever asks what a run or a batch has brought.
type Observe struct {
	Input Node
	Name  string
	Aggs  []*expr.AggCall // over Input's columns
	Exprs []expr.Expr     // over the aggregates' results
	Names []string        // of Exprs
	// Observer waits for the results of a run; nil if nobody does. It is no part of the
	// plan's text.
	Observer any
}

func (*Observe) node() {}

// Schema returns the columns.
func (n *Observe) Schema() *arrow.Schema { return n.Input.Schema() }

// Inputs returns what is read.
func (n *Observe) Inputs() []Node { return []Node{n.Input} }

// WithInputs replaces what is read.
func (n *Observe) WithInputs(in []Node) Node {
	c := *n
	c.Input = in[0]
	return &c
}

func (n *Observe) String() string {
	aggs := make([]string, len(n.Aggs))
	for i, a := range n.Aggs {
		aggs[i] = a.String()
	}
	return "Observe " + n.Name + " [" + strings.Join(aggs, ", ") + "]"
}
