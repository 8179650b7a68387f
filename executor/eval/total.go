package eval

import "github.com/sluice-stream/sluice/planner/expr"

// Total reports that the condition cannot fail, whatever its rows hold, and that
// its result for a row depends on the row's values alone: it may then be asked of
// values that no row has.
func (pr *Predicate) Total() bool {
	for _, n := range pr.p.nodes {
		if n.perRow || !n.safe {
			return false
		}
	}
	return true
}

// Total reports that an expression cannot fail, whatever the rows hold.
func Total(e expr.Expr) bool {
	total := true
	expr.Walk(e, func(x expr.Expr) bool {
		switch x := x.(type) {
		case *expr.Call:
			total = total && x.Func.Total
		case *expr.Cast:
			total = total && (x.Try || widens(x.Arg.Type(), x.DT))
		}
		return total
	})
	return total
}
