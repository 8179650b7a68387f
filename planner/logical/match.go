package logical

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
)

// Match finds row patterns (MATCH_RECOGNIZE) in the partitions of Input, whose
// rows are taken in the order of Order.
type Match struct {
	Input     Node
	Partition []expr.Expr
	Order     []expr.SortKey
	Spec      *expr.MatchSpec
	Final     bool // a match comes out once it cannot change; only the planner sets it
}

func (*Match) node() {}

// Schema returns the columns that the specification lists.
func (n *Match) Schema() *arrow.Schema { return n.Spec.Columns(n.Input.Schema()) }

// Inputs returns the input.
func (n *Match) Inputs() []Node { return []Node{n.Input} }

// WithInputs replaces the input.
func (n *Match) WithInputs(in []Node) Node { c := *n; c.Input = in[0]; return &c }

func (n *Match) String() string {
	s := "Match "
	if len(n.Partition) > 0 {
		s += "partition [" + exprs(n.Partition, ", ") + "] "
	}
	return s + "order [" + expr.SortKeys(n.Order) + "] " + n.Spec.String()
}
