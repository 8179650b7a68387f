package expr

import (
	"fmt"

	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Volatility says what a function's result depends on besides its arguments.
type Volatility int

// The volatilities.
const (
	Immutable  Volatility = iota // nothing: may be folded when planned
	Stable                       // the batch's plan record: now(), current_watermark()
	PerRow                       // the row's position too: rand(), uuid(), seeded by (query, batch, split, row)
	OutsideNow                   // the outside world: its results must be logged
)

// Function is a resolved scalar function: one overload for given argument types.
type Function struct {
	Name       string // lower case, as SQL writes it
	Infix      string // the operator it is written as, e.g. "+", or empty
	Volatility Volatility
	// Strict functions are NULL wherever an argument is NULL. The evaluator may
	// then skip those rows and a kernel may leave any value under a NULL.
	Strict bool
	// Total functions cannot fail, whatever their arguments: they may be computed
	// for rows that turn out not to need them.
	Total  bool
	Kernel Kernel
}

// Vec is an argument or result of a kernel: an array of n rows, or with Const
// an array of one row that stands for n equal ones.
type Vec struct {
	Arr   arrow.Array
	Const bool
}

// Kernel computes a function over n rows. It borrows its arguments and returns
// an array of n rows (or of 1 if every argument is Const), which the caller
// owns. It must not keep or change its arguments. An error names the value at
// fault but not the expression, which the evaluator adds.
type Kernel func(kc *KernelContext, args []Vec, n int) (arrow.Array, error)

// KernelContext is what a kernel may depend on besides its arguments.
type KernelContext struct {
	Alloc     memory.Allocator
	Result    arrow.DataType // the type to return
	Now       int64          // the batch's now(), microseconds since 1970
	Watermark int64          // in force, microseconds; math.MinInt64 if there is none
	Zone      string         // the session's time zone, an IANA name
	Seed      uint64         // of (query, batch, split)
	RowBase   int64          // position of the first row within the split
	// Eval evaluates a lambda's body with the parameters bound to columns of
	// n rows; the kernel owns the result. rows[i] is the row of the kernel's input
	// that row i of the parameters belongs to.
	Eval func(l *Lambda, params []arrow.Array, rows []int32, n int) (arrow.Array, error)
	// Lambdas holds the lambda arguments of the call by argument position.
	Lambdas map[int]*Lambda
}

// Aggregate is a resolved aggregate function for given argument types.
type Aggregate struct {
	Name string // lower case
	// State are the types of the columns that hold a partial result. Partial
	// results cross exchanges and live in the state store in this form.
	State  []arrow.DataType
	Result arrow.DataType
	// New makes an accumulator for any number of groups.
	New func(alloc memory.Allocator) Accumulator
	// IgnoresDuplicates is true for min, max, bool_and and the like: DISTINCT
	// makes no difference to them.
	IgnoresDuplicates bool
	// Invertible aggregates can take a row back (Retract); count and sum can, max cannot.
	Invertible bool
	// EmptyNull is the result over no rows is NULL (true for sum), else Final gives it (count: 0).
	EmptyNull bool
}

// Accumulator holds the partial results of one aggregate for groups 0..n-1,
// column-wise. Groups and arguments are parallel: row i belongs to groups[i].
// It is used by one goroutine.
type Accumulator interface {
	// Resize makes room for groups [0, n); new ones are empty.
	Resize(n int)
	// Update adds rows. args are borrowed. sel, if not nil, lists the rows to take;
	// groups then has one entry for each entry of sel. groups may be nil: every
	// row belongs to group 0.
	Update(groups []uint32, args []Vec, sel []int32, n int) error
	// Retract takes rows back that Update added before. Only for Invertible aggregates.
	Retract(groups []uint32, args []Vec, sel []int32, n int) error
	// Merge adds partial results, the columns that State returned elsewhere.
	Merge(groups []uint32, state []arrow.Array) error
	// State returns the partial results of groups [first, end), a column for each of Aggregate.State.
	State(first, end int) ([]arrow.Array, error)
	// Final returns the results of groups [first, end).
	Final(first, end int) (arrow.Array, error)
	// Bytes is the memory held, for the budget.
	Bytes() int64
	// Reset forgets all groups and keeps the memory for reuse.
	Reset()
	// Release gives the memory back.
	Release()
}

// AggCall is a use of an aggregate in a plan.
type AggCall struct {
	Func     *Aggregate
	Args     []Expr
	Distinct bool
	Filter   Expr      // nil for all rows
	OrderBy  []SortKey // for collect_list, listagg and the like
	Name     string    // of the output column
	Null     bool
	At       Place
}

// Blamed is the call for the message of an error, with its place in the text.
func (a *AggCall) Blamed() string {
	if a.At == (Place{}) {
		return a.String()
	}
	return fmt.Sprintf("%s at %d:%d", a, a.At.Line, a.At.Col)
}

// Type is the type of the result.
func (a *AggCall) Type() arrow.DataType { return a.Func.Result }

// String prints the call as SQL-like text.
func (a *AggCall) String() string {
	var b strings.Builder
	b.WriteString(a.Func.Name + "(")
	if a.Distinct {
		b.WriteString("DISTINCT ")
	}
	if len(a.Args) == 0 {
		b.WriteByte('*')
	}
	writeList(&b, a.Args, ", ")
	b.WriteByte(')')
	if len(a.OrderBy) > 0 {
		b.WriteString(" ORDER BY " + SortKeys(a.OrderBy))
	}
	if a.Filter != nil {
		b.WriteString(" FILTER (WHERE ")
		write(&b, a.Filter)
		b.WriteByte(')')
	}
	return b.String()
}

// SortKey is one key of an ordering.
type SortKey struct {
	Expr       Expr
	Desc       bool
	NullsFirst bool
}

// String prints the key as in ORDER BY, with NULLS only where it is not Spark's default.
func (k SortKey) String() string {
	s := k.Expr.String()
	if k.Desc {
		s += " DESC"
	}
	if k.NullsFirst == k.Desc {
		if k.NullsFirst {
			s += " NULLS FIRST"
		} else {
			s += " NULLS LAST"
		}
	}
	return s
}

// SortKeys prints keys separated by commas.
func SortKeys(keys []SortKey) string {
	var b strings.Builder
	for i, k := range keys {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(k.String())
	}
	return b.String()
}
