package logical

import (
	"fmt"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
)

// Node is a relational operator. It is sealed: Scan, Values, Filter, Project,
// Watermark, Window, Aggregate, Join, Apply, Union, Distinct, Analytic, Sort, Limit,
// LimitBy, Match, Generate, Range, Recursive, WorkTable, Dedup, Latest and Shared.
type Node interface {
	Schema() *arrow.Schema
	Inputs() []Node
	WithInputs(in []Node) Node
	// String prints the node alone, on one line, for EXPLAIN.
	String() string
	node()
}

// Table is what a Scan reads: a table of the catalog as the binder found it.
type Table struct {
	Name      string
	Connector string
	Options   map[string]string
	Schema    *arrow.Schema // physical and metadata columns, before computed ones
	Meta      []Meta
	Stream    bool // read as an unbounded stream
	// Lookup says that each batch meets the table as it is when the batch is planned.
	Lookup bool
	// Keyed says that the table is of a system that others change and that keeps no
	// versions: a stream looks rows up in it by key alone.
	Keyed    bool
	Inferred bool // the connector has found the columns, nobody declared them
	// Changes says whether the rows of the source carry a kind of change. A Scan's
	// columns are without it.
	Changes batch.Changes
	Keys    []int // columns of Schema that tell the table's rows apart, if it changes and they are declared
	Data    any   // rows or source of a table made in Go (memory, DataFrame); nil for DDL tables
}

// Meta says which column of the schema is a metadata column, and of which key.
type Meta struct {
	Column int
	Key    string
}

// Scan reads a table.
type Scan struct {
	Table   *Table
	Columns []int // positions in Table.Schema, in output order; nil means all
	// Filters are conjuncts over the output columns that the source may use to
	// skip data (row groups, partitions). They are applied again above.
	Filters []expr.Expr

	memo memo
}

// Values is a constant table.
type Values struct {
	Rows [][]expr.Expr // constant expressions
	Out  *arrow.Schema
}

// Filter keeps the rows for which Cond is true.
type Filter struct {
	Input Node
	Cond  expr.Expr
}

// Project computes columns.
type Project struct {
	Input Node
	Exprs []expr.Expr
	Names []string

	memo memo
}

// Watermark says that column Col of Input is event time and may be out of order by Delay.
type Watermark struct {
	Input Node
	Col   int
	Delay time.Duration
	Table string // whose event time it is
}

// WindowKind is the kind of a window table function.
type WindowKind int

// The kinds of windows.
const (
	Tumble WindowKind = iota
	Hop
	Cumulate
	Session
)

// Window adds three columns to Input: window_start, window_end and window_time
// (the last instant of the window). A row that lies in several windows comes out once for each.
type Window struct {
	Input  Node
	Kind   WindowKind
	Time   expr.Expr // a timestamp over Input's columns
	Size   time.Duration
	Slide  time.Duration // Hop's slide, Cumulate's step
	Offset time.Duration
	// A Session has no size: the rows of a partition that follow each other
	// before the last one's End are in one window. End is above Time in every row.
	End       expr.Expr
	Partition []expr.Expr

	memo memo
}

// Aggregate groups by Keys. Its columns are the keys, then the aggregates.
type Aggregate struct {
	Input Node
	Keys  []expr.Expr
	Names []string // of the keys
	Aggs  []*expr.AggCall
	TTL   TTL
	Final bool // a group comes out once, when it closes; only the planner sets it

	memo memo
}

// Analytic adds a column to Input for each call of a window function. The calls
// share how rows are partitioned and ordered within a partition.
type Analytic struct {
	Input     Node
	Partition []expr.Expr
	Order     []expr.SortKey
	Calls     []*expr.AnalyticCall
	// AtWatermark lets the rows of a stream come out when the watermark has passed
	// the time that they are ordered by, with values that stay.
	AtWatermark bool
	TTL         TTL

	memo memo
}

// JoinKind is the kind of a join.
type JoinKind int

// The kinds of joins.
const (
	Inner JoinKind = iota
	LeftOuter
	RightOuter
	FullOuter
	LeftSemi
	LeftAnti
	Cross
)

// Join joins Left and Right on equal keys and a residual condition over the
// columns of both (Left's first).
type Join struct {
	Left, Right         Node
	Kind                JoinKind
	LeftKeys, RightKeys []expr.Expr
	NullSafe            []bool    // keys compared with <=>; nil for none
	Residual            expr.Expr // nil if none
	TTL                 TTL       // of the left rows, then of the right ones
	// Final says that rows of the output are never taken back, whatever the kind: one
	// without a partner waits until none can come. Only the planner sets it.
	Final bool

	memo memo
}

// Union is UNION ALL of inputs with equal types; the names are the first one's.
type Union struct {
	In []Node

	memo memo
}

// Distinct removes duplicate rows.
type Distinct struct {
	Input Node
	TTL   TTL
}

// Sort orders rows.
type Sort struct {
	Input Node
	Keys  []expr.SortKey
}

// Limit keeps Count rows after skipping Offset. A negative Count keeps all.
type Limit struct {
	Input  Node
	Count  int64
	Offset int64
}

func (*Scan) node()      {}
func (*Values) node()    {}
func (*Filter) node()    {}
func (*Project) node()   {}
func (*Watermark) node() {}
func (*Window) node()    {}
func (*Aggregate) node() {}
func (*Analytic) node()  {}
func (*Join) node()      {}
func (*Union) node()     {}
func (*Distinct) node()  {}
func (*Sort) node()      {}
func (*Limit) node()     {}

// Explain prints the tree below n, a node a line, children indented.
func Explain(n Node) string {
	var b strings.Builder
	explain(&b, n, 0)
	return b.String()
}

func explain(b *strings.Builder, n Node, depth int) {
	fmt.Fprintf(b, "%s%s\n", strings.Repeat("  ", depth), n.String())
	for _, in := range n.Inputs() {
		explain(b, in, depth+1)
	}
}

// Transform rewrites a plan bottom-up; f returns its argument where it changes nothing.
func Transform(n Node, f func(Node) Node) Node {
	in := n.Inputs()
	out := make([]Node, len(in))
	changed := false
	for i, c := range in {
		out[i] = Transform(c, f)
		changed = changed || out[i] != c
	}
	if changed {
		n = n.WithInputs(out)
	}
	return f(n)
}

// Walk visits n and everything below it, parents first, until visit returns false for a subtree.
func Walk(n Node, visit func(Node) bool) {
	if !visit(n) {
		return
	}
	for _, c := range n.Inputs() {
		Walk(c, visit)
	}
}

// Streaming reports whether anything below n is an unbounded stream.
func Streaming(n Node) bool {
	found := false
	Walk(n, func(x Node) bool {
		if s, ok := x.(*Scan); ok && s.Table.Stream {
			found = true
		}
		return !found
	})
	return found
}
