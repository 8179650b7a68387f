package physical

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
)

// Sessions appends window_start, window_end and window_time to rows that are
// sorted by Partition and Time: a row that comes before or at the end of the
// session before it, which is the last End of its rows, is of that session.
type Sessions struct {
	Input     Node
	Partition []expr.Expr
	Time, End expr.Expr
	Out       *arrow.Schema
}

// OpenSessions is Sessions over a stream whose watermark closes them: it keeps the
// rows of the sessions that are open. Final puts the rows of a session out when it
// has closed; else they come out at once, as changes when sessions grow together.
type OpenSessions struct {
	Input     Node // it only grows
	Partition []expr.Expr
	Time, End expr.Expr
	Shift     int64 // microseconds that a session is kept past its end
	Clock     bool  // its times are of the clock, not of event time
	Final     bool
	Operator  string
	Out       *arrow.Schema // with the change column unless Final
}

func (*Sessions) node()     {}
func (*OpenSessions) node() {}

// Schema returns the columns, one method for each node.

func (n *Sessions) Schema() *arrow.Schema     { return n.Out }
func (n *OpenSessions) Schema() *arrow.Schema { return n.Out }

// Inputs returns what is read, one method for each node.

func (n *Sessions) Inputs() []Node     { return []Node{n.Input} }
func (n *OpenSessions) Inputs() []Node { return []Node{n.Input} }

func (n *Sessions) String() string {
	return "Sessions by [" + list(n.Partition) + "] " + n.Time.String() + " to " + n.End.String()
}

func (n *OpenSessions) String() string {
	s := "OpenSessions " + n.Operator + " by [" + list(n.Partition) + "] " + n.Time.String() + " to " + n.End.String()
	if n.Shift != 0 {
		s += " + " + micros(n.Shift)
	}
	s += byClock(n.Clock)
	if n.Final {
		s += " final"
	}
	return s
}
