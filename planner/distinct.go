package planner

import (
	"fmt"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// inTwoSteps rewrites an aggregation of which all calls look at the different
// values of the same arguments: first rows are made different, by the keys and
// the arguments, then grouped. Both steps run in parts and spill, where one step
// would gather all rows of a group in one task and keep a set for each. It
// returns nil where the values' order may matter, or where rows are seen otherwise.
func inTwoSteps(n *logical.Aggregate) *logical.Aggregate {
	if len(n.Aggs) == 0 {
		return nil
	}
	args := n.Aggs[0].Args
	distinct := false
	for _, a := range n.Aggs {
		exact := a.Func.Name == "min" || a.Func.Name == "max" || a.Distinct && a.Func.Invertible
		if !exact || a.Filter != nil || len(a.OrderBy) > 0 || len(a.Args) == 0 || !sameExprs(a.Args, args) {
			return nil
		}
		distinct = distinct || a.Distinct && !a.Func.IgnoresDuplicates
	}
	if !distinct {
		return nil
	}
	inner := &logical.Aggregate{Input: n.Input, Keys: append(append([]expr.Expr{}, n.Keys...), args...)}
	inner.Names = append([]string{}, n.Names[:len(n.Keys)]...)
	for i := range args {
		inner.Names = append(inner.Names, fmt.Sprintf("distinct.%d", i))
	}
	all := columns(inner.Keys, inner.Names)
	outer := *n
	outer.Input, outer.Keys, outer.Aggs = inner, all[:len(n.Keys)], make([]*expr.AggCall, len(n.Aggs))
	for i, a := range n.Aggs {
		c := *a
		c.Args, c.Distinct = all[len(n.Keys):], false
		outer.Aggs[i] = &c
	}
	return &outer
}
