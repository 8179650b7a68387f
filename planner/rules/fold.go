package rules

import (
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// noZone is the name of no time zone. What depends on the session's zone fails
// under it and so is left for the query to compute, in the session's zone.
const noZone = "/"

// FoldConstants computes what depends on literals alone and simplifies AND, OR
// and CASE around constants. A call that fails is left as it is: whether its
// error counts is known only when rows reach it (CASE WHEN false THEN 1/0 END).
func FoldConstants(n logical.Node) (logical.Node, error) {
	return logical.Transform(n, func(n logical.Node) logical.Node {
		n = mapExprs(n, func(e exprT) exprT { return expr.Transform(e, fold) })
		if f, ok := n.(*logical.Filter); ok && isTrue(f.Cond) {
			return f.Input
		}
		return n
	}), nil
}

func fold(e exprT) exprT {
	switch e := e.(type) {
	case *expr.Call:
		return expr.FoldCall(e, noZone)
	case *expr.Logical:
		return foldLogical(e)
	case *expr.Case:
		return foldCase(e)
	}
	return e
}

func isTrue(e exprT) bool {
	l, ok := e.(*expr.Literal)
	return ok && l.Value == true
}

func isFalse(e exprT) bool {
	l, ok := e.(*expr.Literal)
	return ok && l.Value == false
}

// foldLogical drops the neutral element and stops at the absorbing one. Only
// what stands after the absorbing constant is dropped without being evaluated
// anyway; what stands before it cannot raise an error that SQL promises.
func foldLogical(e *expr.Logical) exprT {
	neutral, absorbing := isTrue, isFalse
	if e.Op == expr.Or {
		neutral, absorbing = isFalse, isTrue
	}
	args := make([]exprT, 0, len(e.Args))
	for _, a := range e.Args {
		if absorbing(a) {
			return expr.Bool(e.Op == expr.Or)
		}
		if !neutral(a) {
			args = append(args, a)
		}
	}
	switch {
	case len(args) == len(e.Args):
		return e
	case len(args) == 0:
		return expr.Bool(e.Op == expr.And)
	case len(args) == 1:
		return args[0]
	}
	return &expr.Logical{Op: e.Op, Args: args}
}

func foldCase(e *expr.Case) exprT {
	whens := make([]expr.When, 0, len(e.Whens))
	els := e.Else
	for _, w := range e.Whens {
		if isFalse(w.Cond) || expr.IsNull(w.Cond) {
			continue
		}
		if isTrue(w.Cond) {
			els = w.Then
			break
		}
		whens = append(whens, w)
	}
	if len(whens) == 0 {
		return els
	}
	if len(whens) == len(e.Whens) {
		return e
	}
	return &expr.Case{Whens: whens, Else: els, DT: e.DT}
}
