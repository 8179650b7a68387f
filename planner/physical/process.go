package physical

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// Process hands the rows of each key to code of the user's. Rows with equal keys
// are in one task. A processor of several outputs puts out the columns of all of
// them and, behind, the number of the output that a row belongs to.
type Process struct {
	In        []Node // the rows and, if there are any, the others and the initial ones
	Of        []logical.ProcessInput
	Keys      [][]expr.Expr // of each input
	Orders    []expr.Expr   // of each input, within a batch of a key; nil for the order of coming
	Def       *logical.ProcessDef
	Operator  string // that keeps the state; "" in a plan that runs once
	Tagged    bool   // Out has the number of the output behind the columns
	KeyFields []arrow.Field
	// Shift is how far the event time of the rows may lie behind the watermark, in
	// microseconds: what the code sees of the watermark, and its timers, wait for as long.
	Shift int64
	// OnTime is the column of event time of rows that are on time by construction, also
	// behind the watermark: what is put out for them is judged by their own times. -1 for
	// an input whose rows are as a source has them.
	OnTime []int
	Times  []ProcessTime // of the outputs that have event time
	Out    *arrow.Schema // keys, columns, the tag, the change column if the main output is updated
}

// ProcessTime is the event time of an output: a row is late that lies further than
// Shift, in microseconds, behind the watermark or, if a timer puts it out, behind
// the timer's time.
type ProcessTime struct {
	Output, Column int   // Column is one of Process.Out
	Shift          int64 // microseconds
}

func (*Process) node() {}

// Schema returns the columns.
func (n *Process) Schema() *arrow.Schema { return n.Out }

// Inputs returns what is read.
func (n *Process) Inputs() []Node { return n.In }

func (n *Process) String() string {
	s := n.Def.String()
	for i, of := range n.Of {
		if of == logical.InitialRows {
			continue
		}
		if of == logical.OtherRows {
			s += " with others"
		}
		if s += " by [" + list(n.Keys[i]) + "]"; n.Orders[i] != nil {
			s += " in order of " + n.Orders[i].String()
		}
	}
	return s
}
