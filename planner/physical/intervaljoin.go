package physical

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// IntervalJoin joins two streams that only grow, whose times in a pair differ by
// Low to High microseconds. A row leaves when its time and the side's Keep are at
// the watermark: nothing can meet it any more. Of the kinds that tell of rows
// without partners, Final puts those out when they leave; else they come out at
// once and are taken back when a partner comes.
type IntervalJoin struct {
	Left, Right         Node
	Kind                logical.JoinKind
	LeftKeys, RightKeys []expr.Expr
	NullSafe            []bool
	Residual            expr.Expr // over the columns of both
	// Own is what Residual says of a side alone whose rows without partners are told of:
	// a row for which it is not true meets nothing, and need not wait. nil: nothing.
	Own       [2]expr.Expr
	Times     [2]int    // the column of each side
	Low, High *int64    // of left - right; nil for none
	Keep      [2]*int64 // nil: a side's rows stay
	Final     bool
	Operator  string
	Out       *arrow.Schema // with the change column if rows may be taken back
}

func (*IntervalJoin) node() {}

// Schema returns the columns of both sides, or of the left one for semi and anti joins.
func (n *IntervalJoin) Schema() *arrow.Schema { return n.Out }

// Inputs returns both sides.
func (n *IntervalJoin) Inputs() []Node { return []Node{n.Left, n.Right} }

func (n *IntervalJoin) String() string {
	s := n.Kind.String() + "IntervalJoin " + n.Operator
	if len(n.LeftKeys) > 0 {
		s += " on [" + list(n.LeftKeys) + "] = [" + list(n.RightKeys) + "]"
	}
	s += fmt.Sprintf(" %s - %s in [%s, %s]", n.Left.Schema().Field(n.Times[0]).Name, n.Right.Schema().Field(n.Times[1]).Name, bound(n.Low), bound(n.High))
	if n.Residual != nil {
		s += " where " + n.Residual.String()
	}
	if n.Final {
		s += " final"
	}
	return s
}

func bound(us *int64) string {
	if us == nil {
		return "?"
	}
	return micros(*us)
}
