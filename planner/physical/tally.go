package physical

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
)

// Tally counts the values that the rows of each group have, of rows that may be taken
// back: what DISTINCT, min and max in an aggregate become over them. The rows go on
// with a mark where they are the first or the last with a value, so that marked rows
// alone, with their signs, are an aggregate of distinct values. Of an extreme a row
// of its own, which is no row of the input, tells what it is now.
type Tally struct {
	Input    Node        // its last column is the kind of change
	Keys     []expr.Expr // of the group
	Sets     []TallySet
	EndKey   int   // position of the key that tells when a group closes, -1 if there is none
	EndShift int64 // microseconds added to that key to give the end
	Clock    bool  // the end is one of the clock, not of event time
	Operator string
	// Out is Input's columns without the kind of change, whether the row is one of the
	// input, then for each set its mark or, of an extreme, whether the row tells it and
	// what it is; the kind of change comes last.
	Out *arrow.Schema
}

// TallySet is the values of some arguments. A row with a NULL among them is not counted.
type TallySet struct {
	Kind   TallyKind
	Args   []expr.Expr // one, of an extreme
	Filter expr.Expr   // nil passes all
}

// TallyKind says what is asked of the values of a set.
type TallyKind int

// Which values there are, the lowest of them, or the highest.
const (
	TallyDistinct TallyKind = iota
	TallyLowest
	TallyHighest
)

func (*Tally) node() {}

// Schema returns the input's columns and what the sets tell.
func (n *Tally) Schema() *arrow.Schema { return n.Out }

// Inputs returns the input.
func (n *Tally) Inputs() []Node { return []Node{n.Input} }

func (n *Tally) String() string {
	s := fmt.Sprintf("Tally %s by [%s]", n.Operator, list(n.Keys))
	for _, t := range n.Sets {
		s += [...]string{" distinct (", " lowest (", " highest ("}[t.Kind] + list(t.Args) + ")"
		if t.Filter != nil {
			s += " where " + t.Filter.String()
		}
	}
	return s
}
