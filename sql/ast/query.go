package ast

// Query is a whole query expression: CTEs, a body, order and limits.
type Query struct {
	Pos
	With    *With
	Body    QueryBody
	OrderBy []OrderItem
	Limit   Expr // nil for none and for LIMIT ALL
	Offset  Expr
}

// With is WITH [RECURSIVE] a AS (..), b AS (..).
type With struct {
	Pos
	Recursive bool
	CTEs      []CTE
}

// CTE is one named query of a With.
type CTE struct {
	Pos
	Name    Ident
	Columns []Ident
	// MaxLevel is MAX RECURSION LEVEL n: so many rounds may add rows; nil for the
	// setting's.
	MaxLevel Expr
	Query    *Query
}

// QueryBody is what can stand between WITH and ORDER BY.
type QueryBody interface {
	Node
	body()
}

// StateTTL says in a hint how long rows of a table stay in the state of the
// operators of a SELECT: STATE_TTL('alias' = '1 day').
type StateTTL struct {
	Pos
	Table, Time string
}

// Select is one SELECT block.
type Select struct {
	Pos
	StateTTL []StateTTL
	Distinct bool
	// DistinctOn is DISTINCT ON (..): of the rows with equal values the first one
	// in the query's order.
	DistinctOn []Expr
	Items      []SelectItem
	From       []Table // comma-separated; the binder reads them as cross joins
	Where      Expr
	GroupBy    *GroupBy
	Having     Expr
	Windows    []NamedWindow
	Qualify    Expr
}

// SetOp is UNION, INTERSECT or EXCEPT.
type SetOp struct {
	Pos
	Op  string
	All bool
	// ByName matches the columns by their names; one that a side lacks is NULL there.
	ByName bool
	L, R   QueryBody
}

// Values is VALUES (..), (..).
type Values struct {
	Pos
	Rows [][]Expr
}

// TableBody is TABLE t as a query.
type TableBody struct {
	Pos
	Name Name
}

// SelectItem is one output column, or a Star.
type SelectItem struct {
	Expr  Expr
	Alias *Ident
	// Aliases names the columns of a generator: explode(m) AS (k, v).
	Aliases []Ident
}

// GroupKind says what a GroupItem is.
type GroupKind int

// The kinds of GROUP BY items.
const (
	GroupExpr GroupKind = iota
	GroupSet            // one parenthesised set of a GROUPING SETS
	GroupRollup
	GroupCube
	GroupSets
)

// GroupBy is the clause; All is GROUP BY ALL.
type GroupBy struct {
	Pos
	All bool
	// Keys stand before GROUPING SETS: GROUP BY a, b GROUPING SETS ((a)). A key that
	// is in no set is NULL in every row.
	Keys  []Expr
	Items []GroupItem
}

// GroupItem is an expression (Expr), one set (Sets[0]), ROLLUP or CUBE over
// Sets, or GROUPING SETS whose parts are Items.
type GroupItem struct {
	Pos
	Kind  GroupKind
	Expr  Expr
	Sets  [][]Expr
	Items []GroupItem
}

// OrderItem is one key of an ORDER BY. Nulls is "", FIRST or LAST.
type OrderItem struct {
	Expr  Expr
	Desc  bool
	Nulls string
}

// NamedWindow is WINDOW name AS (spec).
type NamedWindow struct {
	Name Ident
	Spec *WindowSpec
}

// WindowSpec is what follows OVER. If Ref is set and nothing else, it is OVER
// name.
type WindowSpec struct {
	Pos
	Ref         *Ident
	Bare        bool // OVER name, without parentheses
	PartitionBy []Expr
	OrderBy     []OrderItem
	Frame       *Frame
}

// BoundKind says where a window frame starts or ends.
type BoundKind int

// The kinds of frame bounds.
const (
	UnboundedPreceding BoundKind = iota
	Preceding
	CurrentRow
	Following
	UnboundedFollowing
)

// Bound is one end of a frame; Offset is set for Preceding and Following.
type Bound struct {
	Kind   BoundKind
	Offset Expr
}

// Frame is ROWS, RANGE or GROUPS between two bounds. Exclude is "", CURRENT
// ROW, GROUP, TIES or NO OTHERS.
type Frame struct {
	Pos
	Unit       string
	Start, End Bound
	Exclude    string
}

func (*Query) node()      {}
func (*Select) node()     {}
func (*SetOp) node()      {}
func (*Values) node()     {}
func (*TableBody) node()  {}
func (*WindowSpec) node() {}

func (*Query) body()     {}
func (*Select) body()    {}
func (*SetOp) body()     {}
func (*Values) body()    {}
func (*TableBody) body() {}
