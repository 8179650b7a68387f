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
	In        []Node        // the rows and, if there are any, the initial ones
	Keys      [][]expr.Expr // of each input
	Order     expr.Expr     // within a batch of a key, nil for the order of coming
	Def       *logical.ProcessDef
	Operator  string // that keeps the state; "" in a plan that runs once
	Initials  bool   // there are initial rows, which are read with the first batch
	Tagged    bool   // Out has the number of the output behind the columns
	KeyFields []arrow.Field
	Out       *arrow.Schema // keys, columns, the tag, the change column if the main output is updated
}

func (*Process) node() {}

// Schema returns the columns.
func (n *Process) Schema() *arrow.Schema { return n.Out }

// Inputs returns what is read.
func (n *Process) Inputs() []Node { return n.In }

func (n *Process) String() string {
	s := n.Def.String() + " by [" + list(n.Keys[0]) + "]"
	if n.Order != nil {
		s += " in order of " + n.Order.String()
	}
	return s
}
