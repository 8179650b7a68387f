package rules

import (
	"slices"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// lift takes the conditions on parameters out of a plan. The plan that it
// returns starts with n's columns and goes on with what the conditions need;
// they are over its columns and the parameters. ok is false where a condition
// cannot be applied later than it stands.
func (u *unnesting) lift(n logical.Node) (out logical.Node, preds []exprT, ok bool) {
	if !u.uses(n) {
		return n, nil, true
	}
	switch n := n.(type) {
	case *logical.Filter:
		return u.liftFilter(n)
	case *logical.Project:
		return u.liftProject(n)
	case *logical.Join:
		return u.liftJoin(n)
	case *logical.Aggregate:
		if len(n.Keys) == 0 {
			return nil, nil, false
		}
		return u.liftAggregate(n)
	case *logical.Distinct:
		return u.liftDistinct(n)
	case *logical.Sort: // without a limit above it an order within a subquery means nothing
		return u.lift(n.Input)
	}
	return nil, nil, false
}

func (u *unnesting) liftFilter(n *logical.Filter) (logical.Node, []exprT, bool) {
	in, preds, ok := u.lift(n.Input)
	if !ok {
		return nil, nil, false
	}
	var keep []exprT
	for _, c := range expr.Conjuncts(n.Cond) {
		if u.correlated(c) {
			preds = append(preds, c)
		} else {
			keep = append(keep, c)
		}
	}
	return filter(in, keep), preds, true
}

func (u *unnesting) liftProject(n *logical.Project) (logical.Node, []exprT, bool) {
	if u.correlated(n.Exprs...) {
		return nil, nil, false
	}
	in, preds, ok := u.lift(n.Input)
	if !ok {
		return nil, nil, false
	}
	p := &logical.Project{Input: in, Exprs: slices.Clone(n.Exprs), Names: slices.Clone(n.Names)}
	at := map[int]int{}
	for i, e := range p.Exprs {
		if c, is := e.(*expr.Column); is && c.Index >= 0 {
			at[c.Index] = i
		}
	}
	for _, w := range with(nil, preds...) {
		if _, have := at[w]; have || w < 0 {
			continue
		}
		at[w] = len(p.Exprs)
		c := columnAt(in, w)
		p.Exprs, p.Names = append(p.Exprs, c), append(p.Names, c.Name)
	}
	return p, remapAll(preds, func(i int) int { return at[i] }), true
}

// remapAll moves columns and leaves parameters.
func remapAll(es []exprT, to func(int) int) []exprT {
	out := make([]exprT, len(es))
	for i, e := range es {
		out[i] = expr.Remap(e, func(i int) int {
			if i < 0 {
				return i
			}
			return to(i)
		})
	}
	return out
}

func (u *unnesting) liftJoin(n *logical.Join) (logical.Node, []exprT, bool) {
	inner := n.Kind == logical.Inner || n.Kind == logical.Cross
	leftOnly := n.Kind == logical.LeftOuter || n.Kind == logical.LeftSemi || n.Kind == logical.LeftAnti
	switch {
	case u.correlated(n.LeftKeys...) || u.correlated(n.RightKeys...):
		return nil, nil, false
	case inner:
	case leftOnly && !u.uses(n.Right) && (n.Residual == nil || !u.correlated(n.Residual)):
	default:
		return nil, nil, false
	}
	l, lp, ok := u.lift(n.Left)
	if !ok {
		return nil, nil, false
	}
	r, rp, ok := u.lift(n.Right)
	if !ok {
		return nil, nil, false
	}
	lw, rw := n.Left.Schema().NumFields(), n.Right.Schema().NumFields()
	le := l.Schema().NumFields() - lw
	re := r.Schema().NumFields() - rw
	c := *n
	c.Left, c.Right, c.Residual = l, r, nil
	if n.Kind == logical.LeftSemi || n.Kind == logical.LeftAnti {
		c.Residual = shiftRight(n.Residual, lw, le)
		return &c, lp, true
	}
	preds := remapAll(lp, func(i int) int {
		if i >= lw {
			i += rw
		}
		return i
	})
	preds = append(preds, remapAll(rp, func(i int) int {
		if i >= rw {
			return i + lw + le
		}
		return i + lw
	})...)
	var keep []exprT
	for _, e := range expr.Conjuncts(n.Residual) {
		if u.correlated(e) {
			preds = append(preds, e)
		} else {
			keep = append(keep, shiftRight(e, lw, le))
		}
	}
	c.Residual = expr.AndAll(keep)
	if le == 0 {
		return &c, preds, true
	}
	order := slices.Concat(span(0, lw), span(lw+le, lw+le+rw), span(lw, lw+le), span(lw+le+rw, lw+le+rw+re))
	return pick(&c, order), preds, true
}

// shiftRight makes room for extra columns at the end of the left side.
func shiftRight(e exprT, lw, extra int) exprT {
	if e == nil || extra == 0 {
		return e
	}
	return expr.Remap(e, func(i int) int {
		if i >= lw {
			i += extra
		}
		return i
	})
}

// liftAggregate groups by what the conditions compare with parameters, too. Only
// equalities can be applied after grouping, and any condition on keys alone.
func (u *unnesting) liftAggregate(n *logical.Aggregate) (logical.Node, []exprT, bool) {
	for _, a := range n.Aggs {
		if u.correlated(aggregateExprs(a)...) {
			return nil, nil, false
		}
	}
	if u.correlated(n.Keys...) {
		return nil, nil, false
	}
	in, preds, ok := u.lift(n.Input)
	if !ok {
		return nil, nil, false
	}
	g := &logical.Aggregate{Input: in, Keys: slices.Clone(n.Keys), Names: slices.Clone(n.Names), Aggs: n.Aggs, TTL: n.TTL}
	out, ok := u.throughKeys(preds, &g.Keys, &g.Names)
	if !ok {
		return nil, nil, false
	}
	k, extra := len(n.Keys), len(g.Keys)-len(n.Keys)
	if extra == 0 {
		return g, out, true
	}
	order := slices.Concat(span(0, k), span(k+extra, k+extra+len(n.Aggs)), span(k, k+extra))
	out = remapAll(out, func(i int) int {
		if i >= k {
			i += len(n.Aggs)
		}
		return i
	})
	return pick(g, order), out, true
}

// throughKeys rewrites conditions over an input to ones over grouping keys; it
// adds a key for the inner side of each equality with a parameter.
func (u *unnesting) throughKeys(preds []exprT, keys *[]exprT, names *[]string) ([]exprT, bool) {
	out := make([]exprT, len(preds))
	for i, p := range preds {
		if e, ok := overKeys(p, *keys); ok {
			out[i] = e
			continue
		}
		c, ok := p.(*expr.Call)
		if !ok || len(c.Args) != 2 || c.Func.Infix != "=" && c.Func.Infix != "<=>" || !expr.Deterministic(p) {
			return nil, false
		}
		in := -1
		for k, a := range c.Args {
			if !u.correlated(a) && u.correlated(c.Args[1-k]) && len(with(nil, c.Args[1-k])) == len(paramsOf(c.Args[1-k])) {
				in = k
			}
		}
		if in < 0 {
			return nil, false
		}
		key := c.Args[in]
		args := slices.Clone(c.Args)
		args[in] = &expr.Column{Index: len(*keys), Name: "key", DT: key.Type(), Null: key.Nullable()}
		*keys, *names = append(*keys, key), append(*names, "key")
		out[i] = expr.WithChildren(c, args)
	}
	return out, true
}

func paramsOf(e exprT) map[int]bool {
	set := map[int]bool{}
	for _, i := range with(nil, e) {
		if i < 0 {
			set[i] = true
		}
	}
	return set
}

// overKeys moves an expression to the columns of the keys, if it reads nothing else.
func overKeys(e exprT, keys []exprT) (exprT, bool) {
	at := map[int]int{}
	for i, k := range keys {
		if c, ok := k.(*expr.Column); ok && c.Index >= 0 {
			at[c.Index] = i
		}
	}
	for _, w := range with(nil, e) {
		if _, ok := at[w]; w >= 0 && !ok {
			return nil, false
		}
	}
	return remapAll([]exprT{e}, func(i int) int { return at[i] })[0], true
}

func (u *unnesting) liftDistinct(n *logical.Distinct) (logical.Node, []exprT, bool) {
	in, preds, ok := u.lift(n.Input)
	if !ok {
		return nil, nil, false
	}
	w := n.Schema().NumFields()
	keys, names := make([]exprT, w), make([]string, w)
	for i := range w {
		c := columnAt(in, i)
		keys[i], names[i] = c, c.Name
	}
	out, ok := u.throughKeys(preds, &keys, &names)
	if !ok {
		return nil, nil, false
	}
	return &logical.Distinct{Input: &logical.Project{Input: in, Exprs: keys, Names: names}}, out, true
}

func aggregateExprs(a *expr.AggCall) []exprT {
	out := slices.Clone(a.Args)
	if a.Filter != nil {
		out = append(out, a.Filter)
	}
	for _, k := range a.OrderBy {
		out = append(out, k.Expr)
	}
	return out
}
