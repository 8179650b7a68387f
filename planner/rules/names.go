package rules

import "github.com/sluice-stream/sluice/planner/expr"

// Short names for the types that every rule mentions.
type (
	exprT    = expr.Expr
	sortKeys = []expr.SortKey
	aggCalls = []*expr.AggCall
)
