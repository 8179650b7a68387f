package physical

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
)

// Match finds row patterns in rows that are sorted by Partition and Order. Rows
// that are equal in both are taken in the order of their other columns, so that
// the result does not depend on how rows came.
type Match struct {
	Input     Node
	Partition []expr.Expr
	Order     []expr.SortKey
	Spec      *expr.MatchSpec
	Out       *arrow.Schema
}

// StatefulMatch is Match over a stream that only grows: the first order key is
// event time, rows wait until the watermark has passed them, and a match comes
// out once nothing can change it. It keeps the rows that a match can still need.
type StatefulMatch struct {
	Match
	Shift    int64 // microseconds; a row is complete once its time and Shift are at or before the watermark
	Operator string
}

func (*Match) node() {}

// Schema returns the columns.
func (n *Match) Schema() *arrow.Schema { return n.Out }

// Inputs returns what is read.
func (n *Match) Inputs() []Node { return []Node{n.Input} }

func (n *Match) String() string {
	return fmt.Sprintf("Match partition [%s] order [%s] %s", list(n.Partition), expr.SortKeys(n.Order), n.Spec)
}

func (n *StatefulMatch) String() string {
	s := "Stateful" + n.Match.String() + " " + n.Operator
	if n.Shift != 0 {
		s += fmt.Sprintf(" + %dus", n.Shift)
	}
	return s
}
