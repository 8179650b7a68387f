package rules

import (
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// MergeFilters makes one filter of two that stand on each other, the inner
// condition first, so that its protection of the outer one is kept.
func MergeFilters(n logical.Node) (logical.Node, error) {
	return logical.Transform(n, func(n logical.Node) logical.Node {
		outer, ok := n.(*logical.Filter)
		if !ok {
			return n
		}
		inner, ok := outer.Input.(*logical.Filter)
		if !ok {
			return n
		}
		conds := append(expr.Conjuncts(inner.Cond), expr.Conjuncts(outer.Cond)...)
		return &logical.Filter{Input: inner.Input, Cond: expr.AndAll(conds)}
	}), nil
}
