package logical

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
)

// Generate makes rows of the elements of arrays and maps: its columns are
// Input's, then Out. Several Args are read side by side; the shorter ones go on
// as NULL.
type Generate struct {
	Input Node
	Args  []expr.Expr // lists and maps over Input's columns
	// Inline takes the structs in the arrays apart into columns.
	Inline bool
	Pos    GeneratePos
	// Outer keeps a row without elements, with NULL for them.
	Outer bool
	Out   []arrow.Field // the columns made
	// Keep are the input's columns that each row made carries, in this order; nil is
	// all. Without it an array would be copied for each of its own elements.
	Keep []int

	memo memo
}

// GeneratePos says whether and how the elements are numbered.
type GeneratePos int

// The ways to number elements.
const (
	NoPos      GeneratePos = iota
	PosFirst               // a column in front, from 0: posexplode
	Ordinality             // a column behind, from 1: WITH ORDINALITY
)

// Range is a table of whole numbers from Start up to, not with, End.
type Range struct {
	Start, End, Step int64 // Step is not 0
	Name             string
}

// LimitBy keeps, of the rows with equal By, Count after skipping Offset, in the
// order of Keys. It is LIMIT in a subquery that depends on the row outside.
type LimitBy struct {
	Input         Node
	By            []expr.Expr
	Keys          []expr.SortKey
	Count, Offset int64 // a negative Count keeps all
	TTL           TTL
}

func (*Generate) node() {}
func (*Range) node()    {}
func (*LimitBy) node()  {}

// Schema returns the input's columns and those made.
func (n *Generate) Schema() *arrow.Schema { return n.memo.get(n, n.schema) }

func (n *Generate) schema() *arrow.Schema {
	fields := slices.Clone(n.Input.Schema().Fields())
	if n.Keep != nil {
		fields = fields[:0]
		for _, c := range n.Keep {
			fields = append(fields, n.Input.Schema().Field(c))
		}
	}
	return arrow.NewSchema(append(fields, n.Out...), nil)
}

// Schema returns the one column.
func (n *Range) Schema() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{{Name: n.Name, Type: expr.TypeInt64}}, nil)
}

// Schema returns the input's columns.
func (n *LimitBy) Schema() *arrow.Schema { return n.Input.Schema() }

// Inputs and WithInputs, a pair for each node.

func (n *Generate) Inputs() []Node { return []Node{n.Input} }
func (n *Range) Inputs() []Node    { return nil }
func (n *LimitBy) Inputs() []Node  { return []Node{n.Input} }

func (n *Generate) WithInputs(in []Node) Node { c := *n; c.Input = in[0]; return &c }
func (n *Range) WithInputs([]Node) Node       { return n }
func (n *LimitBy) WithInputs(in []Node) Node  { c := *n; c.Input = in[0]; return &c }

func (n *Generate) String() string {
	s := "Generate "
	if n.Inline {
		s += "inline "
	}
	s += exprs(n.Args, ", ")
	if n.Pos != NoPos {
		s += " numbered"
	}
	if n.Outer {
		s += " outer"
	}
	names := make([]string, len(n.Out))
	for i, f := range n.Out {
		names[i] = f.Name
	}
	return s + " AS " + strings.Join(names, ", ")
}

func (n *Range) String() string { return fmt.Sprintf("Range %d to %d by %d", n.Start, n.End, n.Step) }

func (n *LimitBy) String() string {
	s := fmt.Sprintf("LimitBy [%s] %d", exprs(n.By, ", "), n.Count)
	if n.Offset > 0 {
		s += fmt.Sprintf(" offset %d", n.Offset)
	}
	return s + " order " + expr.SortKeys(n.Keys)
}
