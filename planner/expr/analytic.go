package expr

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
)

// AnalyticKind says which window function an AnalyticCall is.
type AnalyticKind int

// The window functions. WindowAggregate is any aggregate over the row's frame.
const (
	WindowAggregate AnalyticKind = iota
	RowNumber
	Rank
	DenseRank
	PercentRank
	CumeDist
	Ntile
	Lag // Lead is Lag with a negative offset
	NthValue
)

// String names the function as SQL does.
func (k AnalyticKind) String() string {
	return [...]string{"aggregate", "row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag", "nth_value"}[k]
}

// AnalyticCall is a use of a window function in a plan: its value for a row
// depends on the other rows of the row's partition.
type AnalyticCall struct {
	Kind AnalyticKind
	// Agg is the aggregate of a WindowAggregate. DISTINCT and ORDER BY count within the frame.
	Agg *AggCall
	// Args are the value of Lag (and its default, of the same type, if there is
	// one) and of NthValue; nil for the others.
	Args []Expr
	// N is the offset of Lag in rows (below zero for rows that follow), the
	// number of buckets of Ntile, and which row of the frame NthValue takes: 1 is
	// the first, -1 the last.
	N           int64
	IgnoreNulls bool // of Lag and NthValue
	Frame       Frame
	Name        string // of the output column
	DT          arrow.DataType
	Null        bool
}

// FrameUnit says what the offsets of a frame count.
type FrameUnit int

// The units: rows, differences of the order key, groups of rows with equal keys.
const (
	FrameRows FrameUnit = iota
	FrameRange
	FrameGroups
)

// BoundKind says where a frame starts or ends.
type BoundKind int

// The kinds of frame bounds.
const (
	UnboundedPreceding BoundKind = iota
	Preceding
	CurrentRow
	Following
	UnboundedFollowing
)

// FrameBound is one end of a frame.
type FrameBound struct {
	Kind BoundKind
	// Offset is the distance in rows or groups of Preceding and Following.
	Offset int64
	// Value is, for Preceding and Following of rows and groups, the distance where
	// each row has one of its own. Of FrameRange it is the order key less or
	// plus the offset: where the frame ends among the values of Frame.Key, which
	// has the same type. NULL for a row that has a key lies beyond all keys.
	Value Expr
}

// Exclusion says which rows a frame leaves out.
type Exclusion int

// The exclusions. Ties are the rows with the current one's order, but not itself.
const (
	ExcludeNone Exclusion = iota
	ExcludeCurrent
	ExcludeGroup
	ExcludeTies
)

// Frame is the part of a row's partition that its window function sees.
type Frame struct {
	Unit       FrameUnit
	Start, End FrameBound
	Exclude    Exclusion
	// Key is the order key that Value of the bounds is compared with; nil unless
	// a bound has one. Desc and NullsFirst are its direction.
	Key              Expr
	Desc, NullsFirst bool
}

// Whole reports that the frame is the partition for every row.
func (f Frame) Whole() bool {
	return f.Start.Kind == UnboundedPreceding && f.End.Kind == UnboundedFollowing && f.Exclude == ExcludeNone
}

// String prints the frame as SQL does.
func (f Frame) String() string {
	s := [...]string{"ROWS", "RANGE", "GROUPS"}[f.Unit] + " BETWEEN " + f.Start.String() + " AND " + f.End.String()
	return s + [...]string{"", " EXCLUDE CURRENT ROW", " EXCLUDE GROUP", " EXCLUDE TIES"}[f.Exclude]
}

// String prints the bound; that of a range by the value it lies at.
func (b FrameBound) String() string {
	at := fmt.Sprint(b.Offset)
	if b.Value != nil {
		at = b.Value.String()
	}
	return [...]string{"UNBOUNDED PRECEDING", at + " PRECEDING", "CURRENT ROW", at + " FOLLOWING", "UNBOUNDED FOLLOWING"}[b.Kind]
}

// Type is the type of the result.
func (a *AnalyticCall) Type() arrow.DataType { return a.DT }

// framed reports that the function looks at its frame, not at the partition.
func (a *AnalyticCall) framed() bool { return a.Kind == WindowAggregate || a.Kind == NthValue }

// String prints the call without its partitioning and order, which are its node's.
func (a *AnalyticCall) String() string {
	s := a.Kind.String() + "("
	switch a.Kind {
	case WindowAggregate:
		s = a.Agg.String()
	case Ntile:
		s += fmt.Sprint(a.N) + ")"
	case Lag, NthValue:
		s += a.Args[0].String() + ", " + fmt.Sprint(a.N)
		if len(a.Args) > 1 {
			s += ", " + a.Args[1].String()
		}
		s += ")"
	default:
		s += ")"
	}
	if a.IgnoreNulls {
		s += " IGNORE NULLS"
	}
	if a.framed() {
		s += " " + a.Frame.String()
	}
	return s
}

// Exprs lists the expressions of the call; WithExprs puts others in their place.
func (a *AnalyticCall) Exprs() []Expr {
	out := append([]Expr{}, a.Args...)
	if a.Agg != nil {
		out = append(out, a.Agg.Args...)
		if a.Agg.Filter != nil {
			out = append(out, a.Agg.Filter)
		}
		for _, k := range a.Agg.OrderBy {
			out = append(out, k.Expr)
		}
	}
	for _, e := range []Expr{a.Frame.Start.Value, a.Frame.End.Value, a.Frame.Key} {
		if e != nil {
			out = append(out, e)
		}
	}
	return out
}

// WithExprs returns the call with its expressions replaced, in the order of Exprs.
func (a *AnalyticCall) WithExprs(es []Expr) *AnalyticCall {
	c := *a
	take := func(n int) []Expr {
		out := es[:n:n]
		es = es[n:]
		return out
	}
	c.Args = take(len(a.Args))
	if a.Agg != nil {
		d := *a.Agg
		d.Args = take(len(d.Args))
		if d.Filter != nil {
			d.Filter = take(1)[0]
		}
		d.OrderBy = append([]SortKey(nil), d.OrderBy...)
		for i := range d.OrderBy {
			d.OrderBy[i].Expr = take(1)[0]
		}
		c.Agg = &d
	}
	for _, e := range []*Expr{&c.Frame.Start.Value, &c.Frame.End.Value, &c.Frame.Key} {
		if *e != nil {
			*e = take(1)[0]
		}
	}
	return &c
}

// FuncName is the name of the function, for messages.
func (a *AnalyticCall) FuncName() string {
	if a.Agg != nil {
		return a.Agg.Func.Name
	}
	return a.Kind.String()
}
