package rules

import (
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// PushResiduals takes out of the condition of a join what reads one side alone,
// and filters that side with it, where a row that fails has no other effect than
// to be without partners.
func PushResiduals(n logical.Node) (logical.Node, error) {
	return logical.Transform(n, func(n logical.Node) logical.Node {
		j, ok := n.(*logical.Join)
		if !ok || j.Residual == nil {
			return n
		}
		return pushResidual(j)
	}), nil
}

func pushResidual(n *logical.Join) logical.Node {
	leftOK := n.Kind == logical.Inner || n.Kind == logical.Cross || n.Kind == logical.RightOuter || n.Kind == logical.LeftSemi
	rightOK := n.Kind != logical.RightOuter && n.Kind != logical.FullOuter
	lw := n.Left.Schema().NumFields()
	var left, right, rest []exprT
	for _, c := range expr.Conjuncts(n.Residual) {
		set := with(nil, c)
		switch {
		case len(set) == 0 || !expr.Deterministic(c):
			rest = append(rest, c)
		case leftOK && set[len(set)-1] < lw:
			left = append(left, c)
		case rightOK && set[0] >= lw:
			right = append(right, shift(c, -lw))
		default:
			rest = append(rest, c)
		}
	}
	if len(left) == 0 && len(right) == 0 {
		return n
	}
	c := *n
	c.Left, c.Right, c.Residual = filter(n.Left, left), filter(n.Right, right), expr.AndAll(rest)
	return &c
}
