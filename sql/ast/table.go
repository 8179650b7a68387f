package ast

// Table is what can stand in FROM.
type Table interface {
	Node
	table()
}

// TableName reads a table, view or CTE.
type TableName struct {
	Pos
	Name Name
	AsOf *AsOf
}

// PlanTable is a query that is bound already, a DataFrame in another query's FROM. No
// text makes one. Plan is the binder's: a logical plan.
type PlanTable struct {
	Pos
	Plan any
}

// AsOf is FOR SYSTEM_TIME AS OF ts, or VERSION AS OF n. Kind is SYSTEM_TIME or VERSION.
type AsOf struct {
	Pos
	Kind string
	X    Expr
}

// Derived is a query in FROM, VALUES included.
type Derived struct {
	Pos
	Lateral bool
	Query   *Query
}

// TableFunc is a function in FROM: TUMBLE(..), UNNEST(..), range(..).
type TableFunc struct {
	Pos
	Lateral    bool
	Call       *Call
	Ordinality bool
}

// Aliased names a table and perhaps its columns.
type Aliased struct {
	Pos
	Input   Table
	Alias   Ident
	Columns []Ident
}

// JoinKind is the kind of a join.
type JoinKind int

// The kinds of joins.
const (
	InnerJoin JoinKind = iota
	LeftJoin
	RightJoin
	FullJoin
	CrossJoin
	SemiJoin
	AntiJoin
)

// Join is two tables side by side. At most one of On, Using and Natural is
// set; Match is the condition of an ASOF join.
type Join struct {
	Pos
	Kind    JoinKind
	Asof    bool
	Natural bool
	L, R    Table
	Match   Expr
	On      Expr
	Using   []Ident
}

// Sample is TABLESAMPLE. Unit is PERCENT, ROWS or BUCKET.
type Sample struct {
	Pos
	Input  Table
	Value  Expr
	Unit   string
	OutOf  Expr // of BUCKET
	Repeat Expr
}

// PivotValue is one value of a PIVOT's IN list.
type PivotValue struct {
	Expr  Expr
	Alias *Ident
}

// Pivot is PIVOT (aggs FOR cols IN (values)).
type Pivot struct {
	Pos
	Input  Table
	Aggs   []SelectItem
	For    []Ident
	Values []PivotValue
}

// UnpivotColumn is one column group of an UNPIVOT's IN list.
type UnpivotColumn struct {
	Columns []Name
	Alias   *Ident
}

// Unpivot is UNPIVOT [INCLUDE|EXCLUDE NULLS] (values FOR name IN (columns)).
type Unpivot struct {
	Pos
	Input        Table
	IncludeNulls bool
	Values       []Ident
	Name         Ident
	Columns      []UnpivotColumn
}

// LateralView is LATERAL VIEW [OUTER] f(..) t AS a, b.
type LateralView struct {
	Pos
	Input   Table
	Outer   bool
	Call    *Call
	Alias   Ident
	Columns []Ident
}

// MatchRecognize is the row-pattern clause of SQL:2016.
type MatchRecognize struct {
	Pos
	Input       Table
	PartitionBy []Expr
	OrderBy     []OrderItem
	Measures    []SelectItem
	RowsPer     string // "", ONE, ALL
	Empty       string // of ALL: "", SHOW, OMIT, UNMATCHED
	AfterMatch  string // "", PAST LAST ROW, NEXT ROW, FIRST, LAST, VAR
	AfterVar    *Ident
	Pattern     Pattern
	Within      Expr
	Subsets     []Subset
	Define      []Definition
}

// Subset is U = (A, B).
type Subset struct {
	Name Ident
	Of   []Ident
}

// Definition is A AS cond.
type Definition struct {
	Name Ident
	Cond Expr
}

// Pattern is a regular expression over pattern variables.
type Pattern interface {
	Node
	pattern()
}

// PatternVar is one variable.
type PatternVar struct {
	Pos
	Name Ident
}

// PatternAnchor is ^, the start of the partition, or $, its end.
type PatternAnchor struct {
	Pos
	End bool
}

// PatternSeq is a b c, () without items, or with Alt a | b | c, or with Permute PERMUTE(a, b, c).
type PatternSeq struct {
	Pos
	Op    string // "", ALT, PERMUTE
	Items []Pattern
}

// PatternRepeat is x{min,max}; Max is -1 for no bound. Reluctant is the ? after a
// quantifier, Exclude the {- x -} around it.
type PatternRepeat struct {
	Pos
	X         Pattern
	Min, Max  int
	Reluctant bool
}

// PatternExclude is {- x -}: matched but not shown.
type PatternExclude struct {
	Pos
	X Pattern
}

func (*TableName) node()      {}
func (*PlanTable) node()      {}
func (*Derived) node()        {}
func (*TableFunc) node()      {}
func (*Aliased) node()        {}
func (*Join) node()           {}
func (*Sample) node()         {}
func (*Pivot) node()          {}
func (*Unpivot) node()        {}
func (*LateralView) node()    {}
func (*MatchRecognize) node() {}
func (*PatternVar) node()     {}
func (*PatternAnchor) node()  {}
func (*PatternSeq) node()     {}
func (*PatternRepeat) node()  {}
func (*PatternExclude) node() {}

func (*TableName) table()      {}
func (*PlanTable) table()      {}
func (*Derived) table()        {}
func (*TableFunc) table()      {}
func (*Aliased) table()        {}
func (*Join) table()           {}
func (*Sample) table()         {}
func (*Pivot) table()          {}
func (*Unpivot) table()        {}
func (*LateralView) table()    {}
func (*MatchRecognize) table() {}

func (*PatternVar) pattern()     {}
func (*PatternAnchor) pattern()  {}
func (*PatternSeq) pattern()     {}
func (*PatternRepeat) pattern()  {}
func (*PatternExclude) pattern() {}
