package rules

import (
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/stats"
)

// Context is what rules may lean on besides the plan.
type Context struct {
	// Stats estimates plans. It is nil for a stream, whose plan must be the same at
	// each restart, whatever its tables hold then: rules that need it do nothing.
	Stats *stats.Estimator
	// Skip names rules that are not applied.
	Skip map[string]bool
	// ReduceFrom is how many rows a side of a join must have to be reduced.
	ReduceFrom float64
	// Interrupted is asked before each rule; its error ends planning. Nil never ends it.
	Interrupted func() error
}

// Rule rewrites a whole plan.
type Rule struct {
	ID    string
	Apply func(c *Context, n logical.Node) (logical.Node, error)
}

// Order lists the rules as they run. Simplification comes first, so that the
// others see small expressions; pruning comes late, since it fixes positions.
// Whatever depends on estimates comes behind what makes them better.
func Order() []Rule {
	return []Rule{
		{"decorrelate", plain(Decorrelate)},
		{"fold-constants", plain(FoldConstants)},
		{"merge-filters", plain(MergeFilters)},
		{"factor-conditions", plain(FactorConditions)},
		{"push-filters", plain(PushFilters)},
		{"order-joins", plain(OrderJoins)},
		{"outer-to-inner", once(plain(OuterToInner))},
		{"imply-filters", once(plain(ImplyFilters))},
		{"push-residuals", once(plain(PushResiduals))},
		{"push-filters-into-joins", plain(PushFilters)},
		{"reorder-joins", once(func(c *Context, n logical.Node) (logical.Node, error) { return ReorderJoins(c, n), nil })},
		{"merge-projects", plain(MergeProjects)},
		{"scan-filters", plain(ScanFilters)},
		{"prune-columns", plain(PruneColumns)},
		{"reduce-sides", once(func(c *Context, n logical.Node) (logical.Node, error) { return ReduceSides(c, n), nil })},
		{"narrow-sides", once(plain(NarrowSides))},
	}
}

func plain(f func(logical.Node) (logical.Node, error)) func(*Context, logical.Node) (logical.Node, error) {
	return func(_ *Context, n logical.Node) (logical.Node, error) { return f(n) }
}

// once keeps a rule to plans that run once: it serves speed over much data, and a
// stream's plan stays the one that its checkpoint names.
func once(f func(*Context, logical.Node) (logical.Node, error)) func(*Context, logical.Node) (logical.Node, error) {
	return func(c *Context, n logical.Node) (logical.Node, error) {
		if c.Stats == nil {
			return n, nil
		}
		return f(c, n)
	}
}

// Optimize runs all rules but those that are skipped.
func Optimize(c *Context, n logical.Node) (logical.Node, error) {
	for _, r := range Order() {
		if c.Skip[r.ID] {
			continue
		}
		if c.Interrupted != nil {
			if err := c.Interrupted(); err != nil {
				return nil, err
			}
		}
		var err error
		if n, err = r.Apply(c, n); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// mapExprs rewrites the expressions of one node.
func mapExprs(n logical.Node, f func(e exprT) exprT) logical.Node {
	switch n := n.(type) {
	case *logical.Filter:
		if c := f(n.Cond); c != n.Cond {
			return &logical.Filter{Input: n.Input, Cond: c}
		}
	case *logical.Project:
		if es, changed := mapList(n.Exprs, f); changed {
			return &logical.Project{Input: n.Input, Exprs: es, Names: n.Names}
		}
	case *logical.Aggregate:
		return mapAggregate(n, f)
	case *logical.Analytic:
		return mapAnalytic(n, f)
	case *logical.Window:
		return mapWindow(n, f)
	case *logical.Join:
		return mapJoin(n, f)
	case *logical.Generate:
		if es, changed := mapList(n.Args, f); changed {
			c := *n
			c.Args = es
			return &c
		}
	case *logical.Sort:
		if keys, changed := mapKeys(n.Keys, f); changed {
			return &logical.Sort{Input: n.Input, Keys: keys}
		}
	default: // it holds no expression
	}
	return n
}

func mapAggregate(n *logical.Aggregate, f func(exprT) exprT) logical.Node {
	c := *n
	keys, changed := mapList(n.Keys, f)
	c.Keys = keys
	c.Aggs = append(aggCalls{}, n.Aggs...)
	for i, a := range n.Aggs {
		args, ch := mapList(a.Args, f)
		filter := a.Filter
		if filter != nil {
			filter = f(filter)
		}
		if ch || filter != a.Filter {
			d := *a
			d.Args, d.Filter = args, filter
			c.Aggs[i] = &d
			changed = true
		}
	}
	if !changed {
		return n
	}
	return &c
}

func mapKeys(in sortKeys, f func(exprT) exprT) (sortKeys, bool) {
	keys, changed := append(sortKeys{}, in...), false
	for i := range keys {
		e := f(keys[i].Expr)
		changed = changed || e != keys[i].Expr
		keys[i].Expr = e
	}
	return keys, changed
}

func mapAnalytic(n *logical.Analytic, f func(exprT) exprT) logical.Node {
	c := *n
	var changed, ch bool
	c.Partition, changed = mapList(n.Partition, f)
	if c.Order, ch = mapKeys(n.Order, f); ch {
		changed = true
	}
	c.Calls = append(c.Calls[:0:0], n.Calls...)
	for i, a := range n.Calls {
		if es, ch := mapList(a.Exprs(), f); ch {
			c.Calls[i] = a.WithExprs(es)
			changed = true
		}
	}
	if !changed {
		return n
	}
	return &c
}

func mapJoin(n *logical.Join, f func(exprT) exprT) logical.Node {
	c := *n
	l, ch1 := mapList(n.LeftKeys, f)
	r, ch2 := mapList(n.RightKeys, f)
	c.LeftKeys, c.RightKeys = l, r
	if n.Residual != nil {
		c.Residual = f(n.Residual)
	}
	if !ch1 && !ch2 && c.Residual == n.Residual {
		return n
	}
	return &c
}

func mapList(es []exprT, f func(exprT) exprT) ([]exprT, bool) {
	out, changed := make([]exprT, len(es)), false
	for i, e := range es {
		out[i] = f(e)
		changed = changed || out[i] != e
	}
	if !changed {
		return es, false
	}
	return out, true
}

func mapWindow(n *logical.Window, f func(exprT) exprT) logical.Node {
	c := *n
	c.Time = f(n.Time)
	changed := c.Time != n.Time
	if n.End != nil {
		c.End = f(n.End)
		changed = changed || c.End != n.End
	}
	if ps, moved := mapList(n.Partition, f); moved {
		c.Partition, changed = ps, true
	}
	if !changed {
		return n
	}
	return &c
}
