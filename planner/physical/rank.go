package physical

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
)

// Rank puts out the first Limit rows of each partition, in the order of Order,
// with their numbers: ROW_NUMBER() that is bounded, over rows that only grow. It
// keeps these rows and no others.
type Rank struct {
	Input     Node
	Partition []expr.Expr
	Order     []expr.SortKey
	Limit     int
	Operator  string        // the state's name
	Out       *arrow.Schema // the input's columns, the number, sinks.OpColumn
}

// RankLimitMax is the largest Limit: the rows of a partition are one row of state.
const RankLimitMax = 100

func (*Rank) node() {}

// Schema returns the columns.
func (n *Rank) Schema() *arrow.Schema { return n.Out }

// Inputs returns what is read.
func (n *Rank) Inputs() []Node { return []Node{n.Input} }

func (n *Rank) String() string {
	return fmt.Sprintf("Rank %s by [%s] order [%s] limit %d", n.Operator, list(n.Partition), expr.SortKeys(n.Order), n.Limit)
}
