package rules

import (
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/stats"
)

// ReduceSides cuts the large side of a join down to the keys of the small one
// before anything is made of it: before it is grouped, or put into the hash table
// of an outer, semi or anti join. The small side is computed once for both uses.
// It runs behind the rules that move columns.
func ReduceSides(c *Context, n logical.Node) logical.Node {
	r := &reducer{est: c.Stats, from: c.ReduceFrom}
	return r.node(n)
}

// What is worth it: a large side of which few rows have a partner, against a small
// side that one task can hold.
const (
	reduceShare = 0.5
	reduceBy    = 500_000
)

type reducer struct {
	est  *stats.Estimator
	from float64
	ids  int
}

func (r *reducer) node(n logical.Node) logical.Node {
	if _, ok := n.(*logical.Recursive); ok {
		return n
	}
	in := n.Inputs()
	out, changed := make([]logical.Node, len(in)), false
	for i, x := range in {
		out[i] = r.node(x)
		changed = changed || out[i] != x
	}
	if changed {
		n = n.WithInputs(out)
	}
	if j, ok := n.(*logical.Join); ok {
		return r.join(j)
	}
	return n
}

func (r *reducer) join(n *logical.Join) logical.Node {
	if len(n.LeftKeys) == 0 {
		return n
	}
	switch n.Kind {
	case logical.Inner:
		if j := r.reduce(n, false, true); j != nil {
			return j
		}
		if j := r.reduce(n, true, true); j != nil {
			return j
		}
	case logical.LeftSemi, logical.LeftAnti, logical.LeftOuter:
		if j := r.reduce(n, false, false); j != nil {
			return j
		}
	default: // every row of both sides comes out
	}
	return n
}

// reduce cuts one side down; nil if that is not worth it. grouped says that it is
// only for what is grouped: the join itself drops anything else as cheaply.
func (r *reducer) reduce(n *logical.Join, left, grouped bool) logical.Node {
	small, large, sk, lk := n.Left, n.Right, n.LeftKeys, n.RightKeys
	if left {
		small, large, sk, lk = n.Right, n.Left, n.RightKeys, n.LeftKeys
	}
	rel := r.est.Of(small)
	if rel.Guess || rel.Rows > reduceBy || !repeatable(small) {
		return nil
	}
	p := point{node: large}
	for i := range sk {
		if n.NullSafe == nil || !n.NullSafe[i] {
			p.keys, p.from = append(p.keys, lk[i]), append(p.from, sk[i])
		}
	}
	at := r.descend(p)
	if len(at.keys) == 0 || grouped && !at.grouped {
		return nil
	}
	below := r.est.Of(at.node)
	// A table that is read anyway is where the time goes.
	if below.Guess || below.Rows < r.from || rel.Rows > below.Rows/4 {
		return nil
	}
	if stats.MatchShare(stats.Pairs(at.keys, at.from, below, rel), below.Rows, rel, nil) > reduceShare {
		return nil
	}
	r.ids++
	shared := &logical.Shared{Input: small, ID: r.ids}
	other := at.rebuild(&logical.Join{Left: at.node, Right: shared, Kind: logical.LeftSemi, LeftKeys: at.keys, RightKeys: at.from})
	c := *n
	c.Left, c.Right = shared, other
	if left {
		c.Left, c.Right = other, shared
	}
	return &c
}

// repeatable says whether a plan gives the same rows wherever it is computed.
func repeatable(n logical.Node) bool {
	ok := true
	logical.Walk(n, func(x logical.Node) bool {
		if _, work := x.(*logical.WorkTable); work {
			ok = false
		}
		for _, e := range logical.Exprs(x) {
			ok = ok && expr.Deterministic(e)
		}
		return ok
	})
	return ok
}

// point is a place below a join where its keys are still to be had.
type point struct {
	node    logical.Node
	keys    []exprT // over node
	from    []exprT // what they must be equal to, over the small side
	grouped bool    // the way here led through a grouping
	steps   int     // and through so many groupings and joins
	rebuild func(logical.Node) logical.Node
}

// descend looks for the lowest place that keys are to be had at. Through a
// grouping go the conditions on its keys alone, which drop whole groups.
func (r *reducer) descend(p point) point {
	if p.rebuild == nil {
		p.rebuild = func(n logical.Node) logical.Node { return n }
	}
	switch n := p.node.(type) {
	case *logical.Filter:
		d := r.descend(p.through(n, n.Input, p.keys))
		if d.steps > p.steps {
			return d
		}
		return p // a filter on a scan comes first
	case *logical.Project:
		for _, e := range n.Exprs {
			if !expr.Deterministic(e) {
				return p
			}
		}
		keys := make([]exprT, len(p.keys))
		for i, k := range p.keys {
			keys[i] = substitute(k, n.Exprs)
		}
		return r.descend(p.through(n, n.Input, keys))
	case *logical.Aggregate:
		return r.throughGroups(p, n)
	case *logical.Join:
		return r.throughJoin(p, n)
	}
	return p
}

// through is the point below a node with one input.
func (p point) through(n, in logical.Node, keys []exprT) point {
	up := p.rebuild
	return point{node: in, keys: keys, from: p.from, grouped: p.grouped, steps: p.steps,
		rebuild: func(x logical.Node) logical.Node { return up(n.WithInputs([]logical.Node{x})) }}
}

func (r *reducer) throughGroups(p point, n *logical.Aggregate) point {
	if len(n.Keys) == 0 {
		return p
	}
	q := p.through(n, n.Input, nil)
	q.from, q.grouped, q.steps = nil, true, p.steps+1
	for i, k := range p.keys {
		if set := with(nil, k); len(set) > 0 && set[len(set)-1] < len(n.Keys) {
			e := substitute(k, n.Keys)
			if expr.Deterministic(e) {
				q.keys, q.from = append(q.keys, e), append(q.from, p.from[i])
			}
		}
	}
	if len(q.keys) == 0 {
		return p
	}
	return r.descend(q)
}

// throughJoin goes on to the side that all keys are of.
func (r *reducer) throughJoin(p point, n *logical.Join) point {
	lw := n.Left.Schema().NumFields()
	total := lw + n.Right.Schema().NumFields()
	up := p.rebuild
	all := with(nil, p.keys...)
	switch {
	case len(all) == 0:
		return p
	case all[len(all)-1] < lw && n.Kind != logical.RightOuter && n.Kind != logical.FullOuter:
		q := p
		q.node, q.steps = n.Left, p.steps+1
		q.rebuild = func(x logical.Node) logical.Node { return up(n.WithInputs([]logical.Node{x, n.Right})) }
		return r.descend(q)
	case isInner(n) && all[0] >= lw && all[len(all)-1] < total:
		q := p
		q.node, q.keys, q.steps = n.Right, make([]exprT, len(p.keys)), p.steps+1
		for i, k := range p.keys {
			q.keys[i] = shift(k, -lw)
		}
		q.rebuild = func(x logical.Node) logical.Node { return up(n.WithInputs([]logical.Node{n.Left, x})) }
		return r.descend(q)
	}
	return p
}
