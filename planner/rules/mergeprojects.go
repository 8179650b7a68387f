package rules

import (
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// MergeProjects makes one projection of two where that computes nothing twice,
// and drops a projection that changes nothing.
func MergeProjects(n logical.Node) (logical.Node, error) {
	return logical.Transform(n, func(n logical.Node) logical.Node {
		p, ok := n.(*logical.Project)
		if !ok {
			return n
		}
		if in, ok := p.Input.(*logical.Project); ok && mergeable(p, in) {
			es := make([]exprT, len(p.Exprs))
			for i, e := range p.Exprs {
				es[i] = substitute(e, in.Exprs)
			}
			p = &logical.Project{Input: in.Input, Exprs: es, Names: p.Names}
		}
		if identity(p) {
			return p.Input
		}
		return p
	}), nil
}

func mergeable(outer, inner *logical.Project) bool {
	uses := make([]int, len(inner.Exprs))
	for _, e := range outer.Exprs {
		expr.Walk(e, func(x exprT) bool {
			if c, ok := x.(*expr.Column); ok {
				uses[c.Index]++
			}
			return true
		})
	}
	for i, e := range inner.Exprs {
		switch e.(type) {
		case *expr.Column, *expr.Literal:
		default:
			if uses[i] > 1 || !expr.Deterministic(e) {
				return false
			}
		}
	}
	return true
}

func identity(p *logical.Project) bool {
	in := p.Input.Schema()
	if in.NumFields() != len(p.Exprs) {
		return false
	}
	for i, e := range p.Exprs {
		c, ok := e.(*expr.Column)
		if !ok || c.Index != i || p.Names[i] != in.Field(i).Name {
			return false
		}
	}
	return true
}
