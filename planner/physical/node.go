package physical

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// Node is an operator of a stage. It is sealed: Scan, Values, Filter, Project,
// Watermark, LateFilter, Window, PartialAggregate, FinalAggregate,
// CompleteAggregate, StatefulAggregate, HashJoin, Union, Analytic, Sort, TopN, Limit,
// LimitBy, Generate, Range, Recursive, WorkTable, Recompute, Consolidate,
// MarkFirst, Tally, Sessions, OpenSessions, IntervalJoin, FirstWithin, Versions, OverTime, Fold, Latest, LookupJoin and ExchangeRead.
type Node interface {
	Schema() *arrow.Schema
	Inputs() []Node
	String() string // the EXPLAIN line: no addresses, no timings
	node()
}

// Scan reads the task's splits that belong to Source.
type Scan struct {
	Source  string
	Table   string
	Columns []int // positions in the source's schema, the one behind them for the kind of change; nil means all
	Out     *arrow.Schema
	Filters []expr.Expr // over Out; may be used to skip, need not be applied
	// Again says that another scan of the plan reads the same source and counts its
	// rows, and sets aside those that cannot be decoded.
	Again bool
}

// Values is a constant table; in a Splits stage it is produced by the stage's first task.
type Values struct {
	Rows [][]expr.Expr
	Out  *arrow.Schema
}

// Filter keeps rows.
type Filter struct {
	Input Node
	Cond  expr.Expr
}

// Project computes columns.
type Project struct {
	Input Node
	Exprs []expr.Expr
	Out   *arrow.Schema
}

// Watermark records the highest event time of column Col for Source and passes rows on.
type Watermark struct {
	Input  Node
	Col    int
	Source string
	Column string // tells the event time apart from another one of the source; "" for the first
	Again  bool   // over a scan that reads its source again
}

// LateFilter drops the rows whose End (a window's end or an event time) is at or
// before the task's watermark, and counts them as late.
type LateFilter struct {
	Input    Node
	End      expr.Expr
	Shift    int64  // microseconds added to End first
	Operator string // for the count in progress
}

// Window appends window_start, window_end and window_time, see logical.Window. Times in microseconds.
type Window struct {
	Input               Node
	Kind                logical.WindowKind
	Time                expr.Expr
	Size, Slide, Offset int64
	Out                 *arrow.Schema
}

// PartialAggregate groups what it reads and emits keys and partial states. It
// may emit a group more than once when memory is short.
type PartialAggregate struct {
	Input Node
	Keys  []expr.Expr
	Aggs  []*expr.AggCall
	// Signed says that the input's last column is sinks.OpColumn: what it takes back
	// is taken off the partial results, which may go below zero.
	Signed bool
	Out    *arrow.Schema // keys, then the state columns of each aggregate
}

// FinalAggregate merges partial states (NKeys key columns, then state columns) and emits results.
type FinalAggregate struct {
	Input Node
	NKeys int
	Aggs  []*expr.AggCall
	Out   *arrow.Schema // keys, then results
}

// CompleteAggregate groups raw rows in one step (distinct aggregates, ordered ones).
type CompleteAggregate struct {
	Input Node
	Keys  []expr.Expr
	Aggs  []*expr.AggCall
	Out   *arrow.Schema
}

// StatefulAggregate merges partial states into the state store and emits, by
// Mode: append, the groups whose window closed (EndKey's value <= the task's
// Close), which then leave the state; update, the groups that changed, as
// UpdateAfter in the change column; complete, all groups; changelog, Insert for
// a new group, UpdateBefore and UpdateAfter for a changed one, nothing where the
// result stayed the same. A group whose window closed leaves the state; in complete
// mode the planner sets no EndKey, so that all groups stay.
type StatefulAggregate struct {
	Input    Node
	NKeys    int
	EndKey   int   // position of the key that tells the window's end, -1 if there is none
	EndShift int64 // microseconds added to that key to give the end (the size, for a key that is the start)
	Clock    bool  // the end is one of the clock, not of event time
	Aggs     []*expr.AggCall
	Mode     string
	// Having, over keys and results, hides groups for which it is not true: a
	// group that stops passing goes out as Delete (UpdateBefore's row), one that
	// starts to pass as Insert. nil passes all.
	Having   expr.Expr
	Operator string // the state's name
	Global   bool   // no GROUP BY: a row comes out even without input
	// Signed says that the partial results are of signed rows. The last of Aggs then
	// counts the rows of a group and does not come out: a group without rows is gone.
	Signed bool
	Out    *arrow.Schema // keys, results and, unless Mode is append, sinks.OpColumn
}

// HashJoin joins Left and Right. The side named by Build is read whole first
// and kept as a hash table, over batches too while its ExchangeRead's version is the same.
type HashJoin struct {
	Left, Right         Node
	Kind                logical.JoinKind
	LeftKeys, RightKeys []expr.Expr
	NullSafe            []bool
	Residual            expr.Expr
	BuildLeft           bool
	// Keep lists which of the left columns followed by the right ones come out, in
	// that order; nil is all of them, or the left ones for semi and anti joins.
	Keep []int
	Out  *arrow.Schema
}

// Union concatenates its inputs in order.
type Union struct {
	In  []Node
	Out *arrow.Schema
}

// Analytic computes window functions, a column for each call behind the input's.
// Its input is sorted by Partition, ascending and NULLs first, then by Order.
type Analytic struct {
	Input     Node
	Partition []expr.Expr
	Order     []expr.SortKey
	Calls     []*expr.AnalyticCall
	Out       *arrow.Schema
}

// Sort orders all rows; equal ones keep their order. It spills under memory pressure.
type Sort struct {
	Input Node
	Keys  []expr.SortKey
}

// TopN is Sort and Limit in one, in memory for Count+Offset rows.
type TopN struct {
	Input         Node
	Keys          []expr.SortKey
	Count, Offset int64
}

// Limit passes Count rows after skipping Offset; a negative Count passes all.
type Limit struct {
	Input         Node
	Count, Offset int64
}

// ExchangeRead reads what stage Stage wrote for this task, in (task, sequence) order.
type ExchangeRead struct {
	Stage int
	Out   *arrow.Schema
}

func (*Scan) node()              {}
func (*Values) node()            {}
func (*Filter) node()            {}
func (*Project) node()           {}
func (*Watermark) node()         {}
func (*LateFilter) node()        {}
func (*Window) node()            {}
func (*PartialAggregate) node()  {}
func (*FinalAggregate) node()    {}
func (*CompleteAggregate) node() {}
func (*StatefulAggregate) node() {}
func (*HashJoin) node()          {}
func (*Union) node()             {}
func (*Analytic) node()          {}
func (*Sort) node()              {}
func (*TopN) node()              {}
func (*Limit) node()             {}
func (*ExchangeRead) node()      {}

func (n *Scan) Schema() *arrow.Schema              { return n.Out }
func (n *Values) Schema() *arrow.Schema            { return n.Out }
func (n *Filter) Schema() *arrow.Schema            { return n.Input.Schema() }
func (n *Project) Schema() *arrow.Schema           { return n.Out }
func (n *Watermark) Schema() *arrow.Schema         { return n.Input.Schema() }
func (n *LateFilter) Schema() *arrow.Schema        { return n.Input.Schema() }
func (n *Window) Schema() *arrow.Schema            { return n.Out }
func (n *PartialAggregate) Schema() *arrow.Schema  { return n.Out }
func (n *FinalAggregate) Schema() *arrow.Schema    { return n.Out }
func (n *CompleteAggregate) Schema() *arrow.Schema { return n.Out }
func (n *StatefulAggregate) Schema() *arrow.Schema { return n.Out }
func (n *HashJoin) Schema() *arrow.Schema          { return n.Out }
func (n *Union) Schema() *arrow.Schema             { return n.Out }
func (n *Analytic) Schema() *arrow.Schema          { return n.Out }
func (n *Sort) Schema() *arrow.Schema              { return n.Input.Schema() }
func (n *TopN) Schema() *arrow.Schema              { return n.Input.Schema() }
func (n *Limit) Schema() *arrow.Schema             { return n.Input.Schema() }
func (n *ExchangeRead) Schema() *arrow.Schema      { return n.Out }

func (n *Scan) Inputs() []Node              { return nil }
func (n *Values) Inputs() []Node            { return nil }
func (n *Filter) Inputs() []Node            { return []Node{n.Input} }
func (n *Project) Inputs() []Node           { return []Node{n.Input} }
func (n *Watermark) Inputs() []Node         { return []Node{n.Input} }
func (n *LateFilter) Inputs() []Node        { return []Node{n.Input} }
func (n *Window) Inputs() []Node            { return []Node{n.Input} }
func (n *PartialAggregate) Inputs() []Node  { return []Node{n.Input} }
func (n *FinalAggregate) Inputs() []Node    { return []Node{n.Input} }
func (n *CompleteAggregate) Inputs() []Node { return []Node{n.Input} }
func (n *StatefulAggregate) Inputs() []Node { return []Node{n.Input} }
func (n *HashJoin) Inputs() []Node          { return []Node{n.Left, n.Right} }
func (n *Union) Inputs() []Node             { return n.In }
func (n *Analytic) Inputs() []Node          { return []Node{n.Input} }
func (n *Sort) Inputs() []Node              { return []Node{n.Input} }
func (n *TopN) Inputs() []Node              { return []Node{n.Input} }
func (n *Limit) Inputs() []Node             { return []Node{n.Input} }
func (n *ExchangeRead) Inputs() []Node      { return nil }
