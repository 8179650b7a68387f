package ast

// Node is anything with a place in the text.
type Node interface {
	Position() Pos
	node()
}

// Expr is a value expression.
type Expr interface {
	Node
	expr()
}

// Standin is an expression of the binder's own that prints as another.
type Standin interface {
	Expr
	Stands() Expr
}

// Ident is one part of a name. Name is as written, without quotes; the binder
// compares names without regard to case.
type Ident struct {
	Pos
	Name   string
	Quoted bool
}

// Name is a possibly qualified name: a, s.a, c.s.a.
type Name struct {
	Pos
	Parts []Ident
}

// Column is a name used as a value: a column, perhaps qualified, perhaps with
// fields of a struct behind it. Only the binder can tell which part is which.
type Column struct {
	Pos
	Parts []Ident
	// Outer says that the name is one of a query around this one, whatever this
	// one's own names are. Only the DataFrame API makes such columns.
	Outer bool
}

// Star is * or t.*, with columns left out (EXCEPT), computed anew (REPLACE) or
// named otherwise (RENAME). A name of several parts in Except is a column with its
// table, or a field of a struct.
type Star struct {
	Pos
	Qualifier []Ident
	Except    []Ident
	Fields    []Name // of EXCEPT, those of several parts
	Replace   []SelectItem
	Rename    []Renaming
}

// Renaming is old AS new.
type Renaming struct {
	From, To Ident
}

// LitKind says what the text of a Literal is.
type LitKind int

// The kinds of literals. Numbers without a suffix are LitInt, LitDecimal or,
// with an exponent, LitDouble, as in Spark.
const (
	LitNull LitKind = iota
	LitBool
	LitInt
	LitByte
	LitShort
	LitLong
	LitDecimal
	LitFloat
	LitDouble
	LitBigDecimal
	LitString
	LitBinary
	LitDate
	LitTimestamp
	LitTimestampNTZ
	LitTimestampLTZ
	LitTime
)

// Literal is a constant. Text is the number without its suffix (with a minus
// sign if the user wrote one), the decoded string, TRUE or FALSE, or the bytes.
type Literal struct {
	Pos
	Kind LitKind
	Text string
}

// IntervalPart is a value with its unit or range of units. Unit is upper case
// and singular; To is empty but for ranges such as DAY TO SECOND. Unit is empty
// if the value text names its own units ('1 hour 2 minutes').
type IntervalPart struct {
	Value string
	Unit  string
	To    string
}

// Interval is an interval literal; Amount has its meaning.
type Interval struct {
	Pos
	Parts []IntervalPart
}

// Param is ? (Index counts from one) or :name.
type Param struct {
	Pos
	Name  string
	Index int
}

// Unary is -x, +x, ~x or NOT x.
type Unary struct {
	Pos
	Op string
	X  Expr
}

// Binary is an operator between two values; chains of it lean to the left.
// Op is one of + - * / % DIV || & | ^ << >> >>> = <> < <= > >= <=>.
type Binary struct {
	Pos
	Op   string
	L, R Expr
}

// Logic is AND or OR over two or more operands, kept flat.
type Logic struct {
	Pos
	Op   string // AND or OR
	Args []Expr
}

// Between is x [NOT] BETWEEN lo AND hi.
type Between struct {
	Pos
	Not       bool
	X, Lo, Hi Expr
}

// In is x [NOT] IN (list) or (query).
type In struct {
	Pos
	Not   bool
	X     Expr
	List  []Expr
	Query *Query
}

// Like is x [NOT] LIKE, ILIKE or RLIKE a pattern. With Quantifier (ANY or ALL) the
// patterns are List.
type Like struct {
	Pos
	Not        bool
	Op         string // LIKE, ILIKE, RLIKE
	X          Expr
	Quantifier string // "", ANY, ALL
	Pattern    Expr
	List       []Expr
	Escape     Expr
}

// Is is x IS [NOT] NULL, TRUE, FALSE or UNKNOWN.
type Is struct {
	Pos
	Not  bool
	X    Expr
	What string
}

// IsDistinct is l IS [NOT] DISTINCT FROM r.
type IsDistinct struct {
	Pos
	Not  bool
	L, R Expr
}

// When is one branch of a Case.
type When struct {
	Cond, Then Expr
}

// Case is CASE [operand] WHEN .. THEN .. [ELSE ..] END.
type Case struct {
	Pos
	Operand Expr
	Whens   []When
	Else    Expr
}

// Cast is CAST(x AS t), TRY_CAST(x AS t) or x::t.
type Cast struct {
	Pos
	Try  bool
	X    Expr
	Type *Type
}

// Call is a function call with all that may hang on one. count(*) has a Star
// as its argument.
type Call struct {
	Pos
	Name        Name
	Distinct    bool
	Args        []Expr
	OrderBy     []OrderItem // inside the parentheses
	Nulls       string      // "", IGNORE, RESPECT
	WithinGroup []OrderItem
	Filter      Expr
	Over        *WindowSpec
}

// NamedArg is name => value.
type NamedArg struct {
	Pos
	Name Ident
	X    Expr
}

// AliasArg is x AS name inside the parentheses of struct(..) and PIVOT.
type AliasArg struct {
	Pos
	X    Expr
	Name Ident
}

// Trim is TRIM([BOTH|LEADING|TRAILING] [chars] FROM x).
type Trim struct {
	Pos
	Where string // BOTH, LEADING, TRAILING
	Chars Expr
	X     Expr
}

// Lambda is x -> body or (x, y) -> body.
type Lambda struct {
	Pos
	Params []Ident
	Body   Expr
}

// Index is x[i].
type Index struct {
	Pos
	X, I Expr
}

// Field is x.f where x is more than a name.
type Field struct {
	Pos
	X    Expr
	Name Ident
}

// Row is (a, b, ..) with at least two items.
type Row struct {
	Pos
	Items []Expr
}

// Subquery is (query) as a value.
type Subquery struct {
	Pos
	Query *Query
}

// Exists is EXISTS (query).
type Exists struct {
	Pos
	Query *Query
}

// Quantified is l op ANY|ALL (query).
type Quantified struct {
	Pos
	Op         string
	Quantifier string
	L          Expr
	Query      *Query
}

// TableArg is TABLE t or TABLE (query) among the arguments of a table function.
type TableArg struct {
	Pos
	Table       Name
	Query       *Query
	PartitionBy []Expr
	OrderBy     []OrderItem
}

// Descriptor is DESCRIPTOR(c, ..) among the arguments of a table function.
type Descriptor struct {
	Pos
	Columns []Ident
}

func (*Ident) node()      {}
func (*Name) node()       {}
func (*Column) node()     {}
func (*Star) node()       {}
func (*Literal) node()    {}
func (*Interval) node()   {}
func (*Param) node()      {}
func (*Unary) node()      {}
func (*Binary) node()     {}
func (*Logic) node()      {}
func (*Between) node()    {}
func (*In) node()         {}
func (*Like) node()       {}
func (*Is) node()         {}
func (*IsDistinct) node() {}
func (*Case) node()       {}
func (*Cast) node()       {}
func (*Call) node()       {}
func (*NamedArg) node()   {}
func (*AliasArg) node()   {}
func (*Trim) node()       {}
func (*Lambda) node()     {}
func (*Index) node()      {}
func (*Field) node()      {}
func (*Row) node()        {}
func (*Subquery) node()   {}
func (*Exists) node()     {}
func (*Quantified) node() {}
func (*TableArg) node()   {}
func (*Descriptor) node() {}

func (*Column) expr()     {}
func (*Star) expr()       {}
func (*Literal) expr()    {}
func (*Interval) expr()   {}
func (*Param) expr()      {}
func (*Unary) expr()      {}
func (*Binary) expr()     {}
func (*Logic) expr()      {}
func (*Between) expr()    {}
func (*In) expr()         {}
func (*Like) expr()       {}
func (*Is) expr()         {}
func (*IsDistinct) expr() {}
func (*Case) expr()       {}
func (*Cast) expr()       {}
func (*Call) expr()       {}
func (*NamedArg) expr()   {}
func (*AliasArg) expr()   {}
func (*Trim) expr()       {}
func (*Lambda) expr()     {}
func (*Index) expr()      {}
func (*Field) expr()      {}
func (*Row) expr()        {}
func (*Subquery) expr()   {}
func (*Exists) expr()     {}
func (*Quantified) expr() {}
func (*TableArg) expr()   {}
func (*Descriptor) expr() {}
