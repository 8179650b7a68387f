package rules

import (
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// ScanFilters tells a scan the conditions right above it, so that the source can
// skip files and row groups. The filter itself stays.
func ScanFilters(n logical.Node) (logical.Node, error) {
	return logical.Transform(n, func(n logical.Node) logical.Node {
		f, ok := n.(*logical.Filter)
		if !ok {
			return n
		}
		s, ok := f.Input.(*logical.Scan)
		if !ok || len(s.Filters) > 0 {
			return n
		}
		var use []exprT
		for _, c := range expr.Conjuncts(f.Cond) {
			if expr.Deterministic(c) {
				use = append(use, c)
			}
		}
		if len(use) == 0 {
			return n
		}
		d := *s
		d.Filters = use
		return &logical.Filter{Input: &d, Cond: f.Cond}
	}), nil
}
