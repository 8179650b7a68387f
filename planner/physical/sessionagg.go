package physical

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
)

// PartialSessions groups rows by Partition and by sessions, as far as the rows
// that it reads make such: what is put out as several may be one in the end.
type PartialSessions struct {
	Input     Node
	Partition []expr.Expr
	Time, End expr.Expr
	Aggs      []*expr.AggCall
	Out       *arrow.Schema // the partition, start and end, then the state columns of each aggregate
}

// SessionAggregate keeps the partial results of the sessions that are open, and
// puts out the results of a session when the watermark has closed it.
type SessionAggregate struct {
	Input Node // what PartialSessions puts out
	NKeys int  // columns of the partition
	Aggs  []*expr.AggCall
	// Columns says what the first columns of Out are: a column of the partition,
	// or NKeys for the start and NKeys + 1 for the end.
	Columns  []int
	Operator string        // the state's name
	Out      *arrow.Schema // Columns, then the results
}

func (*PartialSessions) node()  {}
func (*SessionAggregate) node() {}

// Schema returns the columns, one method for each node.

func (n *PartialSessions) Schema() *arrow.Schema  { return n.Out }
func (n *SessionAggregate) Schema() *arrow.Schema { return n.Out }

// Inputs returns what is read, one method for each node.

func (n *PartialSessions) Inputs() []Node  { return []Node{n.Input} }
func (n *SessionAggregate) Inputs() []Node { return []Node{n.Input} }

func (n *PartialSessions) String() string {
	return "PartialSessions by [" + list(n.Partition) + "] " + n.Time.String() + " to " + n.End.String() + " [" + aggs(n.Aggs) + "]"
}

func (n *SessionAggregate) String() string {
	return fmt.Sprintf("SessionAggregate %s by %d keys [%s]", n.Operator, n.NKeys, aggs(n.Aggs))
}
