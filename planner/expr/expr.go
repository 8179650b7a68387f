package expr

import "github.com/apache/arrow-go/v18/arrow"

// Expr is a typed expression over the columns of one input. It is sealed: a
// switch over it lists Column, Literal, Call, Cast, Case, Logical, In, Field,
// Lambda and Param.
type Expr interface {
	// Type is the type of the result.
	Type() arrow.DataType
	// Nullable reports whether the result can be NULL.
	Nullable() bool
	// String prints SQL-like text for EXPLAIN, the same for equal expressions.
	String() string
	expr()
}

// Column is a column of the input, by position.
type Column struct {
	Index int
	Name  string // for printing
	DT    arrow.DataType
	Null  bool
}

// Literal is a constant. Value is nil for NULL, else by type: bool; int64 for
// all signed integers, dates (days), timestamps and times and durations
// (microseconds) and year-month intervals (months); float64 for FLOAT and DOUBLE;
// decimal128.Num; string; []byte. The type arrow.Null is the NULL of no type.
type Literal struct {
	Value any
	DT    arrow.DataType
}

// Call applies a scalar function.
type Call struct {
	Func *Function
	Args []Expr
	DT   arrow.DataType
	Null bool
	At   Place
}

// Place is where an expression stands in the text of the statement, for errors of
// values; zero for what has no text there. It is no part of what an expression is:
// equal expressions may stand at different places.
type Place struct{ Line, Col int32 }

// Cast converts Arg to DT. With Try a value that cannot be converted becomes
// NULL, else it is an error (ANSI).
type Cast struct {
	Arg Expr
	DT  arrow.DataType
	Try bool
	At  Place
}

// Case is searched CASE: the first When whose condition is true. A simple CASE
// is bound to this form. COALESCE, IF, IFNULL, NVL and NULLIF become it too.
type Case struct {
	Whens []When
	Else  Expr // never nil: a missing ELSE is a NULL literal
	DT    arrow.DataType
}

// When is one branch of a Case.
type When struct{ Cond, Then Expr }

// Logical is AND or OR over two or more arguments with three-valued logic. The
// arguments are evaluated in order and only for rows still undecided.
type Logical struct {
	Op   LogicalOp
	Args []Expr
}

// LogicalOp is And or Or.
type LogicalOp int

// The two connectives.
const (
	And LogicalOp = iota
	Or
)

// In tests membership of Arg in a list of constants of Arg's type.
type In struct {
	Arg     Expr
	List    []*Literal
	Negated bool
}

// Field takes the field at Index out of a struct.
type Field struct {
	Arg   Expr
	Index int
	Name  string
	DT    arrow.DataType
}

// Lambda is a function argument such as x -> x + 1. Its body sees the input's
// columns first, then the Params as Param nodes.
type Lambda struct {
	Params []*Param
	Body   Expr
}

// Param is a lambda's parameter inside its body.
type Param struct {
	ID   int // unique within the plan
	Name string
	DT   arrow.DataType
	Null bool
}

func (*Column) expr()  {}
func (*Literal) expr() {}
func (*Call) expr()    {}
func (*Cast) expr()    {}
func (*Case) expr()    {}
func (*Logical) expr() {}
func (*In) expr()      {}
func (*Field) expr()   {}
func (*Lambda) expr()  {}
func (*Param) expr()   {}

func (e *Column) Type() arrow.DataType  { return e.DT }
func (e *Literal) Type() arrow.DataType { return e.DT }
func (e *Call) Type() arrow.DataType    { return e.DT }
func (e *Cast) Type() arrow.DataType    { return e.DT }
func (e *Case) Type() arrow.DataType    { return e.DT }
func (e *Logical) Type() arrow.DataType { return arrow.FixedWidthTypes.Boolean }
func (e *In) Type() arrow.DataType      { return arrow.FixedWidthTypes.Boolean }
func (e *Field) Type() arrow.DataType   { return e.DT }
func (e *Lambda) Type() arrow.DataType  { return e.Body.Type() }
func (e *Param) Type() arrow.DataType   { return e.DT }

func (e *Column) Nullable() bool  { return e.Null }
func (e *Literal) Nullable() bool { return e.Value == nil }
func (e *Call) Nullable() bool    { return e.Null }
func (e *Cast) Nullable() bool    { return e.Try || e.Arg.Nullable() }
func (e *Field) Nullable() bool   { return true }
func (e *Lambda) Nullable() bool  { return e.Body.Nullable() }
func (e *Param) Nullable() bool   { return e.Null }
func (e *In) Nullable() bool {
	for _, l := range e.List {
		if l.Nullable() {
			return true
		}
	}
	return e.Arg.Nullable()
}

func (e *Case) Nullable() bool {
	for _, w := range e.Whens {
		if w.Then.Nullable() {
			return true
		}
	}
	return e.Else.Nullable()
}

func (e *Logical) Nullable() bool {
	for _, a := range e.Args {
		if a.Nullable() {
			return true
		}
	}
	return false
}
