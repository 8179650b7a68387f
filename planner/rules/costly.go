package rules

import (
	"github.com/sluice-stream/sluice/planner/expr"
)

// costly names functions that take much longer than passing a row on: what calls
// one is not computed in two places so that a condition can be tested earlier.
var costly = map[string]bool{
	"regexp_extract": true, "regexp_extract_all": true, "regexp_replace": true, "regexp_count": true, "regexp_instr": true,
	"regexp_substr": true, "rlike": true, "split": true, "get_json_object": true, "from_json": true, "parse_url": true,
}

// isCostly reports whether an expression calls such a function.
func isCostly(e expr.Expr) bool {
	found := false
	expr.Walk(e, func(x expr.Expr) bool {
		if c, ok := x.(*expr.Call); ok && costly[c.Func.Name] {
			found = true
		}
		return !found
	})
	return found
}
