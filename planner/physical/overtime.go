package physical

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
)

// OverTime runs Body, window functions that look back along event time, over the
// rows that the watermark has passed. Until then they wait; of what is over, as
// much is kept for each partition as the functions look back at.
type OverTime struct {
	Input Node // it only grows
	Keys  []expr.Expr
	Time  expr.Expr
	Shift int64 // microseconds added to Time first
	// Late says that rows without a time are late once there is a watermark: they
	// come before all others. Those with one are judged before the operator.
	Late bool
	Back Lookback
	// Table is the ID of the WorkTable that Body reads: the columns of the input,
	// and last whether a row is new. Body gives the new ones alone.
	Table    int
	Body     Node
	Operator string
}

// Lookback is how far back before a row of a partition other rows count for it.
// A row that any of the three reaches is kept.
type Lookback struct {
	Rows  int64 // the last so many, and those of the same time; below zero: all of them
	Range int64 // those of the last so many microseconds
	First int64 // if not zero, none but the first so many, and those of the same time
}

// String prints what is kept.
func (l Lookback) String() string {
	switch {
	case l.First > 0:
		return fmt.Sprintf("the first %d rows", l.First)
	case l.Rows < 0:
		return "all rows"
	case l.Range > 0 && l.Rows > 0:
		return fmt.Sprintf("the last %d rows and %s", l.Rows, micros(l.Range))
	case l.Range > 0:
		return "the last " + micros(l.Range)
	}
	return fmt.Sprintf("the last %d rows", l.Rows)
}

func (*OverTime) node() {}

// Schema returns what Body gives.
func (n *OverTime) Schema() *arrow.Schema { return n.Body.Schema() }

// Inputs returns the input and the body.
func (n *OverTime) Inputs() []Node { return []Node{n.Input, n.Body} }

func (n *OverTime) String() string {
	return "OverTime " + n.Operator + " by [" + list(n.Keys) + "] " + n.Time.String() + " keeps " + n.Back.String()
}
