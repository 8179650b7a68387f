package physical

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
)

// Recompute is the incremental form of any operator that works group by group:
// it keeps the rows of its inputs as state and, for every group that a batch
// touches, runs Body over the rows before and after it and puts out the
// difference. It is exact under retraction whatever Body does, and costs a pass
// over the groups touched.
//
// An input may carry the change column, last; one without it only grows. Final
// puts a group out once, when its window has closed, and nothing before.
type Recompute struct {
	In       []Node
	Keys     [][]expr.Expr // of each input: rows with equal ones are of one group; none: one group in all
	Static   []bool        // of each input: it is read with the first batch alone
	Tables   []int         // IDs of the WorkTables that Body reads each input's rows from
	Body     Node          // all in this stage
	EndKey   int           // position of the key that tells when a group closes, -1 if there is none
	EndShift int64         // microseconds added to that key to give the end
	Clock    bool          // the end is one of the clock, not of event time
	Final    bool
	// Bilinear says that Body is linear in each of two inputs, as an inner join is:
	// then only what the changes meet is read. With Grows nothing is ever taken back,
	// as of a semi join of inputs that only grow.
	Bilinear, Grows bool
	// Prune keeps of the only input, which only grows, the rows that come out: Body's
	// first columns are the input's, and a row that has dropped out never comes back.
	Prune    bool
	Whole    bool // every batch puts out all that Body gives, without the change column
	Operator string
	Out      *arrow.Schema // Body's columns and, unless Final, Whole or Grows, the change column
}

// Consolidate nets out the changes of a batch by key and says of each key that
// still differs what became of it: in mode update the row that is there now or
// the one that is gone, in mode changelog both.
type Consolidate struct {
	Input  Node
	Keys   []int // positions; all rows have one key if there are none
	Before bool  // put out UpdateBefore, too
	// Rows are told apart by all their values and may come several times; there is
	// no key. Those that are left are inserted and deleted. Equal rows of different
	// tasks do not meet: what one operator puts out and takes back took one way.
	Rows bool
}

func (*Recompute) node()   {}
func (*Consolidate) node() {}

// Schema returns the columns, one method for each node.

func (n *Recompute) Schema() *arrow.Schema   { return n.Out }
func (n *Consolidate) Schema() *arrow.Schema { return n.Input.Schema() }

// Inputs returns what is read, one method for each node; Recompute's body comes last.

func (n *Recompute) Inputs() []Node   { return append(append([]Node{}, n.In...), n.Body) }
func (n *Consolidate) Inputs() []Node { return []Node{n.Input} }

func (n *Recompute) String() string {
	s := "Recompute " + n.Operator
	keys := make([]string, len(n.Keys))
	for i, k := range n.Keys {
		keys[i] = "[" + list(k) + "]"
	}
	s += " by " + strings.Join(keys, " ")
	if n.EndKey >= 0 {
		s += fmt.Sprintf(" until %d+%s", n.EndKey, micros(n.EndShift)) + byClock(n.Clock)
	}
	if n.Final {
		s += " final"
	}
	if n.Bilinear {
		s += " bilinear"
	}
	if n.Prune {
		s += " pruned"
	}
	if n.Whole {
		s += " whole"
	}
	return s
}

func (n *Consolidate) String() string {
	names := make([]string, len(n.Keys))
	for i, k := range n.Keys {
		names[i] = n.Schema().Field(k).Name
	}
	if n.Rows {
		return "Consolidate rows"
	}
	s := "Consolidate [" + strings.Join(names, ", ") + "]"
	if n.Before {
		s += " with what was before"
	}
	return s
}
