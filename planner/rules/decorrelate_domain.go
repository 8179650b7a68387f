package rules

import (
	"fmt"
	"slices"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// byDomain computes Right for each distinct combination of the parameters'
// values and joins the result to Left on them. It serves any shape of subquery.
func (u *unnesting) byDomain() (logical.Node, error) {
	a := u.apply
	right, err := u.depend(a.Right)
	if err != nil {
		return nil, err
	}
	rw := a.Right.Schema().NumFields()
	j, ok := joinOn(a.Left, right, a.Kind, expr.Conjuncts(a.On)).(*logical.Join)
	if !ok {
		return nil, fmt.Errorf("planner: a dependent join became no join")
	}
	if j.Kind == logical.Cross {
		j.Kind = logical.Inner
	}
	for k, p := range u.params {
		addJoinKey(j, p.Expr, columnAt(right, rw+k), true)
	}
	return trim(j, a), nil
}

// domain is the distinct values of the parameters.
func (u *unnesting) domain() logical.Node {
	p := &logical.Project{Input: u.apply.Left}
	for _, v := range u.params {
		p.Exprs, p.Names = append(p.Exprs, v.Expr), append(p.Names, fmt.Sprintf("outer%d", v.ID))
	}
	return &logical.Distinct{Input: p}
}

// within replaces the parameters by the domain's columns, which start at base.
func (u *unnesting) within(e exprT, base int) exprT {
	if e == nil {
		return nil
	}
	return expr.Remap(e, func(i int) int {
		if i < 0 {
			if k, mine := u.at[-i]; mine {
				return base + k
			}
		}
		return i
	})
}

func (u *unnesting) withinAll(es []exprT, base int) []exprT {
	out := make([]exprT, len(es))
	for i, e := range es {
		out[i] = u.within(e, base)
	}
	return out
}

// depend returns n computed for every row of the domain: n's columns, then the
// domain's.
func (u *unnesting) depend(n logical.Node) (logical.Node, error) {
	w := n.Schema().NumFields()
	if !u.uses(n) {
		return &logical.Join{Left: n, Right: u.domain(), Kind: logical.Cross}, nil
	}
	if j, ok := n.(*logical.Join); ok {
		return u.dependJoin(j)
	}
	if v, ok := n.(*logical.Values); ok {
		return u.dependValues(v), nil
	}
	ins := make([]logical.Node, len(n.Inputs()))
	for i, in := range n.Inputs() {
		var err error
		if ins[i], err = u.depend(in); err != nil {
			return nil, err
		}
	}
	switch n := n.(type) {
	case *logical.Filter:
		return &logical.Filter{Input: ins[0], Cond: u.within(n.Cond, w)}, nil
	case *logical.Project:
		p := &logical.Project{Input: ins[0], Exprs: u.withinAll(n.Exprs, n.Input.Schema().NumFields()), Names: slices.Clone(n.Names)}
		for k := range u.params {
			c := columnAt(ins[0], n.Input.Schema().NumFields()+k)
			p.Exprs, p.Names = append(p.Exprs, c), append(p.Names, c.Name)
		}
		return p, nil
	case *logical.Aggregate:
		return u.dependAggregate(n, ins[0])
	case *logical.Limit:
		return u.dependLimit(n, ins[0]), nil
	case *logical.Generate:
		return u.dependGenerate(n, ins[0]), nil
	case *logical.Analytic:
		return u.dependAnalytic(n, ins[0])
	case *logical.Distinct, *logical.Union:
		return n.WithInputs(ins), nil
	case *logical.Sort: // an order within a subquery means nothing without a limit
		return ins[0], nil
	}
	return nil, refuse(n.String())
}

// dependValues makes a constant table that uses parameters a projection of the
// domain for each row.
func (u *unnesting) dependValues(n *logical.Values) logical.Node {
	var rows []logical.Node
	for _, row := range n.Rows {
		d := u.domain()
		p := &logical.Project{Input: d, Exprs: u.withinAll(row, 0)}
		for _, f := range n.Out.Fields() {
			p.Names = append(p.Names, f.Name)
		}
		for k := range u.params {
			c := columnAt(d, k)
			p.Exprs, p.Names = append(p.Exprs, c), append(p.Names, c.Name)
		}
		rows = append(rows, p)
	}
	if len(rows) == 1 {
		return rows[0]
	}
	return &logical.Union{In: rows}
}

// dependAggregate groups by the domain, too. Without keys of its own an
// aggregate has a row for every row of the domain, also over nothing.
func (u *unnesting) dependAggregate(n *logical.Aggregate, in logical.Node) (logical.Node, error) {
	base, d := n.Input.Schema().NumFields(), len(u.params)
	g := &logical.Aggregate{Input: in, Aggs: make([]*expr.AggCall, len(n.Aggs))}
	for i, a := range n.Aggs {
		g.Aggs[i] = u.withinAgg(a, base)
	}
	if len(n.Keys) > 0 {
		g.Keys, g.Names = u.withinAll(n.Keys, base), slices.Clone(n.Names)
		for k := range u.params {
			c := columnAt(in, base+k)
			g.Keys, g.Names = append(g.Keys, c), append(g.Names, c.Name)
		}
		nk, na := len(n.Keys), len(n.Aggs)
		return pick(g, slices.Concat(span(0, nk), span(nk+d, nk+d+na), span(nk, nk+d))), nil
	}
	dom := u.domain()
	for k := range u.params {
		c := columnAt(in, base+k)
		g.Keys, g.Names = append(g.Keys, c), append(g.Names, c.Name)
	}
	j := &logical.Join{Left: dom, Right: in, Kind: logical.LeftOuter}
	if constantWhenEmpty(g.Aggs) {
		joined, es, _ := emptyGroups(dom, g, logical.LeftOuter, nil)
		j, _ = joined.(*logical.Join)
		for k := range u.params {
			addJoinKey(j, columnAt(dom, k), columnAt(j.Right, k), true)
		}
		p := &logical.Project{Input: j, Exprs: es}
		for _, a := range n.Aggs {
			p.Names = append(p.Names, a.Name)
		}
		for k := range u.params {
			c := columnAt(dom, k)
			p.Exprs, p.Names = append(p.Exprs, c), append(p.Names, c.Name)
		}
		return p, nil
	}
	return u.aggregateMarked(n, g, dom, in), nil
}

// aggregateMarked joins the domain to the rows before they are grouped, and
// has the aggregates skip what the join made up.
func (u *unnesting) aggregateMarked(n, g *logical.Aggregate, dom, in logical.Node) logical.Node {
	d, width := len(u.params), in.Schema().NumFields()
	marked := pick(in, span(0, width)).(*logical.Project)
	marked.Exprs, marked.Names = append(marked.Exprs, expr.Bool(true)), append(marked.Names, "matched")
	j := &logical.Join{Left: dom, Right: marked, Kind: logical.LeftOuter}
	for k := range u.params {
		addJoinKey(j, columnAt(dom, k), columnAt(marked, width-d+k), true)
	}
	out := &logical.Aggregate{Input: j}
	for k := range u.params {
		c := columnAt(j, k)
		out.Keys, out.Names = append(out.Keys, c), append(out.Names, c.Name)
	}
	for _, a := range g.Aggs {
		m := moveAggBy(a, d)
		m.Filter = expr.AndAll(append([]exprT{columnAt(j, d+width)}, expr.Conjuncts(m.Filter)...))
		out.Aggs = append(out.Aggs, m)
	}
	return pick(out, slices.Concat(span(d, d+len(n.Aggs)), span(0, d)))
}

func constantWhenEmpty(aggs []*expr.AggCall) bool {
	for _, a := range aggs {
		if _, ok := overNothing(a); !a.Func.EmptyNull && !ok {
			return false
		}
	}
	return true
}

func moveAggBy(a *expr.AggCall, by int) *expr.AggCall {
	return mapAgg(a, func(e exprT) exprT {
		return expr.Remap(e, func(i int) int {
			if i < 0 {
				return i
			}
			return i + by
		})
	})
}

func (u *unnesting) withinAgg(a *expr.AggCall, base int) *expr.AggCall {
	return mapAgg(a, func(e exprT) exprT { return u.within(e, base) })
}

// mapAgg rewrites all expressions of an aggregate call.
func mapAgg(a *expr.AggCall, f func(exprT) exprT) *expr.AggCall {
	d := *a
	d.Args = make([]exprT, len(a.Args))
	for i, e := range a.Args {
		d.Args[i] = f(e)
	}
	if a.Filter != nil {
		d.Filter = f(a.Filter)
	}
	d.OrderBy = slices.Clone(a.OrderBy)
	for i := range d.OrderBy {
		d.OrderBy[i].Expr = f(d.OrderBy[i].Expr)
	}
	return &d
}

// dependJoin computes the sides that use parameters for every row of the
// domain. A side whose rows come out without a partner must know the domain's
// row, too. Where both do they are joined on it.
func (u *unnesting) dependJoin(n *logical.Join) (logical.Node, error) {
	needL, needR := u.uses(n.Left), u.uses(n.Right)
	switch n.Kind {
	case logical.Inner, logical.Cross:
		needL = needL || !needR
	case logical.LeftOuter, logical.LeftSemi, logical.LeftAnti:
		needL = true
	case logical.RightOuter:
		needR = true
	case logical.FullOuter:
		return nil, refuse("a full join, " + n.String() + ",")
	}
	c := *n
	c.NullSafe = slices.Clone(n.NullSafe)
	var err error
	if needL {
		if c.Left, err = u.depend(n.Left); err != nil {
			return nil, err
		}
	}
	if needR {
		if c.Right, err = u.depend(n.Right); err != nil {
			return nil, err
		}
	}
	if u.correlated(n.LeftKeys...) && !needL || u.correlated(n.RightKeys...) && !needR {
		return nil, refuse(n.String())
	}
	d, lw, rw := len(u.params), n.Left.Schema().NumFields(), n.Right.Schema().NumFields()
	shift, right := 0, lw+rw
	if needL {
		shift, right = d, lw+d+rw
	}
	c.LeftKeys, c.RightKeys = u.withinAll(n.LeftKeys, lw), u.withinAll(n.RightKeys, rw)
	at := right
	if needL {
		at = lw
	}
	c.Residual = u.within(shiftRight(n.Residual, lw, shift), at)
	if needL && needR {
		if c.Kind == logical.Cross {
			c.Kind = logical.Inner
		}
		for k := range u.params {
			addJoinKey(&c, columnAt(c.Left, lw+k), columnAt(c.Right, rw+k), true)
		}
	}
	if c.Kind == logical.Cross && c.Residual != nil {
		c.Kind = logical.Inner
	}
	if c.Kind == logical.LeftSemi || c.Kind == logical.LeftAnti {
		return &c, nil
	}
	if n.Kind == logical.RightOuter {
		at = right
	}
	return pick(&c, slices.Concat(span(0, lw), span(lw+shift, lw+shift+rw), span(at, at+d))), nil
}
