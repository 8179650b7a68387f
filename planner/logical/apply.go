package logical

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
)

// Apply is a dependent join: for each row of Left it stands for the rows of
// Right with the Params' values of that row put in. Inside Right a parameter is
// a Column whose Index is the negative of the parameter's ID. IDs are unique
// within a statement, so that a parameter may be used any number of Applies
// further down.
//
// Only the binder makes an Apply, and the first rule turns each one into joins:
// no operator ever runs a plan once for each row.
type Apply struct {
	Left, Right Node
	Kind        JoinKind // Inner, LeftOuter, LeftSemi or LeftAnti
	Params      []Param
	On          expr.Expr // over the columns of both, Left's first; nil for none

	memo memo
}

// Param is a value that Right takes from the row of Left. IDs start at 1.
type Param struct {
	ID   int
	Expr expr.Expr // over Left's columns
}

func (*Apply) node() {}

// Schema returns Left's columns and, unless it is a semi or anti join, Right's.
func (n *Apply) Schema() *arrow.Schema { return n.memo.get(n, n.schema) }

func (n *Apply) schema() *arrow.Schema {
	return (&Join{Left: n.Left, Right: n.Right, Kind: n.Kind}).Schema()
}

// Inputs returns both sides.
func (n *Apply) Inputs() []Node { return []Node{n.Left, n.Right} }

// WithInputs replaces both sides.
func (n *Apply) WithInputs(in []Node) Node {
	c := *n
	c.Left, c.Right = in[0], in[1]
	return &c
}

func (n *Apply) String() string {
	parts := make([]string, len(n.Params))
	for i, p := range n.Params {
		parts[i] = fmt.Sprintf("$%d = %s", p.ID, p.Expr)
	}
	s := n.Kind.String() + "Apply [" + strings.Join(parts, ", ") + "]"
	if n.On != nil {
		s += " on " + n.On.String()
	}
	return s
}

// FreeParams adds the IDs of the parameters that a plan uses and no Apply in it
// sets. It is what makes a subquery correlated.
func FreeParams(n Node, set map[int]bool) {
	for _, e := range Exprs(n) {
		exprParams(e, set)
	}
	a, ok := n.(*Apply)
	if !ok {
		for _, in := range n.Inputs() {
			FreeParams(in, set)
		}
		return
	}
	FreeParams(a.Left, set)
	right := map[int]bool{}
	FreeParams(a.Right, right)
	for _, p := range a.Params {
		delete(right, p.ID)
	}
	for id := range right {
		set[id] = true
	}
}

func exprParams(e expr.Expr, set map[int]bool) {
	expr.Walk(e, func(x expr.Expr) bool {
		if c, ok := x.(*expr.Column); ok && c.Index < 0 {
			set[-c.Index] = true
		}
		return true
	})
}

// Exprs lists the expressions of one node, without those of its inputs.
func Exprs(n Node) []expr.Expr {
	var out []expr.Expr
	switch n := n.(type) {
	case *Scan:
		return n.Filters
	case *Values:
		for _, row := range n.Rows {
			out = append(out, row...)
		}
	case *Filter:
		return []expr.Expr{n.Cond}
	case *Project:
		return n.Exprs
	case *Window:
		return []expr.Expr{n.Time}
	case *Aggregate:
		out = append(out, n.Keys...)
		for _, a := range n.Aggs {
			out = append(out, aggExprs(a)...)
		}
	case *Join:
		out = append(append(out, n.LeftKeys...), n.RightKeys...)
		if n.Residual != nil {
			out = append(out, n.Residual)
		}
	case *Apply:
		for _, p := range n.Params {
			out = append(out, p.Expr)
		}
		if n.On != nil {
			out = append(out, n.On)
		}
	case *Analytic:
		out = append(out, n.Partition...)
		for _, k := range n.Order {
			out = append(out, k.Expr)
		}
		for _, c := range n.Calls {
			out = append(out, c.Args...)
			if c.Agg != nil {
				out = append(out, aggExprs(c.Agg)...)
			}
		}
	case *Generate:
		return n.Args
	case *LimitBy:
		out = append(out, n.By...)
		for _, k := range n.Keys {
			out = append(out, k.Expr)
		}
	case *Sort:
		for _, k := range n.Keys {
			out = append(out, k.Expr)
		}
	default: // the others compute nothing
	}
	return out
}

func aggExprs(a *expr.AggCall) []expr.Expr {
	out := append([]expr.Expr{}, a.Args...)
	if a.Filter != nil {
		out = append(out, a.Filter)
	}
	for _, k := range a.OrderBy {
		out = append(out, k.Expr)
	}
	return out
}
