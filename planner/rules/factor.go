package rules

import (
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// FactorConditions takes out of an OR what all its branches ask for: (a AND b)
// OR (a AND c) becomes a AND (b OR c), so that a can become a join's key or go
// to a source. For no row is the result another one: both are NULL where one is.
func FactorConditions(n logical.Node) (logical.Node, error) {
	return logical.Transform(n, func(n logical.Node) logical.Node {
		f, ok := n.(*logical.Filter)
		if !ok {
			return n
		}
		var out []exprT
		changed := false
		for _, c := range expr.Conjuncts(f.Cond) {
			parts := factor(c)
			changed = changed || len(parts) > 1
			out = append(out, parts...)
		}
		if !changed {
			return n
		}
		return &logical.Filter{Input: f.Input, Cond: expr.AndAll(out)}
	}), nil
}

// maxFactored bounds the branches that are compared with each other.
const maxFactored = 64

// factor splits one condition at what the branches of its OR have in common.
func factor(e exprT) []exprT {
	or, ok := e.(*expr.Logical)
	if !ok || or.Op != expr.Or || len(or.Args) > maxFactored {
		return []exprT{e}
	}
	branches := make([][]exprT, len(or.Args))
	for i, a := range or.Args {
		if branches[i] = expr.Conjuncts(a); len(branches[i]) > maxFactored {
			return []exprT{e}
		}
	}
	var common []exprT
	for _, c := range branches[0] {
		if !expr.Deterministic(c) || !inAll(c, branches[1:]) {
			continue
		}
		common = append(common, c)
	}
	if len(common) == 0 {
		return []exprT{e}
	}
	rest := make([]exprT, len(branches))
	for i, b := range branches {
		left := without(b, common)
		if len(left) == 0 { // this branch asks for nothing more, so the others may
			return common
		}
		rest[i] = expr.AndAll(left)
	}
	return append(common, &expr.Logical{Op: expr.Or, Args: rest})
}

func inAll(e exprT, branches [][]exprT) bool {
	for _, b := range branches {
		found := false
		for _, c := range b {
			found = found || expr.Equal(e, c)
		}
		if !found {
			return false
		}
	}
	return true
}

func without(es, drop []exprT) []exprT {
	var out []exprT
	for _, e := range es {
		if !inAll(e, [][]exprT{drop}) {
			out = append(out, e)
		}
	}
	return out
}
