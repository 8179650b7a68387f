package physical

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
)

// Fold reads the changes of a table, sorted by By, and gives the rows that are left
// of them: of equal rows as many as were added and not taken back, or with Latest
// the last row of each key, unless it deletes. A query over all there is has it where
// a stream carries the changes on.
type Fold struct {
	Input  Node
	By     []expr.Expr
	Latest bool
	Table  string
	Out    *arrow.Schema // Input's columns without the change column
}

// Latest keeps the last row of each key as state and tells what a batch has changed
// of them: it makes rows that can be taken back of upserts, of which nobody says what
// was there before.
type Latest struct {
	Input    Node
	Keys     []int
	Operator string
}

func (*Fold) node()   {}
func (*Latest) node() {}

// Schema returns the columns, one method for each node.

func (n *Fold) Schema() *arrow.Schema   { return n.Out }
func (n *Latest) Schema() *arrow.Schema { return n.Input.Schema() }

// Inputs returns what is read, one method for each node.

func (n *Fold) Inputs() []Node   { return []Node{n.Input} }
func (n *Latest) Inputs() []Node { return []Node{n.Input} }

func (n *Fold) String() string {
	what := "Fold"
	if n.Latest {
		what = "FoldLatest"
	}
	return what + " " + n.Table + " by [" + list(n.By) + "]"
}

func (n *Latest) String() string {
	names := make([]string, len(n.Keys))
	for i, k := range n.Keys {
		names[i] = n.Schema().Field(k).Name
	}
	return "Latest " + n.Operator + " by [" + strings.Join(names, ", ") + "]"
}
