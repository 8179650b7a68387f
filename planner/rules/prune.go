package rules

import (
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// PruneColumns reads and computes only the columns that somebody uses.
func PruneColumns(n logical.Node) (logical.Node, error) {
	all := allOf(n)
	out, at := prune(n, all)
	return restore(out, at, all, n), nil
}

// restore puts the columns of out, where original column all[i] stands at
// at(all[i]), back into the order of all.
func restore(out logical.Node, at map[int]int, want []int, n logical.Node) logical.Node {
	if out.Schema().NumFields() == len(want) {
		same := true
		for i, w := range want {
			same = same && at[w] == i
		}
		if same {
			return out
		}
	}
	es, names := make([]exprT, len(want)), make([]string, len(want))
	for i, w := range want {
		f := out.Schema().Field(at[w])
		es[i] = &expr.Column{Index: at[w], Name: f.Name, DT: f.Type, Null: f.Nullable}
		names[i] = n.Schema().Field(w).Name
	}
	return &logical.Project{Input: out, Exprs: es, Names: names}
}

// prune returns a plan with at least the columns need (sorted) of n, and where each of them stands.
func prune(n logical.Node, need []int) (logical.Node, map[int]int) {
	if len(need) == 0 {
		need = narrowest(n)
	}
	switch n := n.(type) {
	case *logical.Scan:
		return pruneScan(n, need)
	case *logical.Filter:
		in, at := prune(n.Input, with(need, n.Cond))
		return &logical.Filter{Input: in, Cond: move(n.Cond, at)}, at
	case *logical.Project:
		return pruneProject(n, need)
	case *logical.Watermark:
		in, at := prune(n.Input, union(need, []int{n.Col}))
		return &logical.Watermark{Input: in, Col: at[n.Col], Delay: n.Delay, Table: n.Table}, at
	case *logical.Latest:
		return pruneLatest(n, need)
	case *logical.Window:
		return pruneWindow(n, need)
	case *logical.Aggregate:
		return pruneAggregate(n, need)
	case *logical.Analytic:
		return pruneAnalytic(n, need)
	case *logical.Join:
		return pruneJoin(n, need)
	case *logical.Sort:
		es := make([]exprT, len(n.Keys))
		for i, k := range n.Keys {
			es[i] = k.Expr
		}
		in, at := prune(n.Input, with(need, es...))
		keys := slices.Clone(n.Keys)
		for i := range keys {
			keys[i].Expr = move(keys[i].Expr, at)
		}
		return &logical.Sort{Input: in, Keys: keys}, at
	case *logical.Generate:
		return pruneGenerate(n, need)
	case *logical.LimitBy:
		return pruneLimitBy(n, need)
	case *logical.Limit:
		in, at := prune(n.Input, need)
		return &logical.Limit{Input: in, Count: n.Count, Offset: n.Offset}, at
	case *logical.Union:
		out := make([]logical.Node, len(n.In))
		at := identityMap(need)
		for i, in := range n.In {
			p, a := prune(in, need)
			out[i] = restore(p, a, need, in)
		}
		return &logical.Union{In: out}, at
	default: // Values, Distinct: every column counts
		in := n.Inputs()
		out := make([]logical.Node, len(in))
		for i, c := range in {
			out[i], _ = PruneColumns(c)
		}
		at := map[int]int{}
		for i := range n.Schema().NumFields() {
			at[i] = i
		}
		if len(in) == 0 {
			return n, at
		}
		return n.WithInputs(out), at
	}
}

func pruneScan(n *logical.Scan, need []int) (logical.Node, map[int]int) {
	need = with(need, n.Filters...)
	c := *n
	c.Columns = make([]int, len(need))
	at := identityMap(need)
	for i, w := range need {
		c.Columns[i] = w
		if n.Columns != nil {
			c.Columns[i] = n.Columns[w]
		}
	}
	c.Filters = make([]exprT, len(n.Filters))
	for i, f := range n.Filters {
		c.Filters[i] = move(f, at)
	}
	return &c, at
}

// pruneLatest keeps the columns that tell the rows apart.
func pruneLatest(n *logical.Latest, need []int) (logical.Node, map[int]int) {
	in, at := prune(n.Input, union(need, n.Keys))
	c := *n
	c.Input, c.Keys = in, make([]int, len(n.Keys))
	for i, k := range n.Keys {
		c.Keys[i] = at[k]
	}
	return &c, at
}

func pruneProject(n *logical.Project, need []int) (logical.Node, map[int]int) {
	es, names := make([]exprT, len(need)), make([]string, len(need))
	for i, w := range need {
		es[i], names[i] = n.Exprs[w], n.Names[w]
	}
	in, at := prune(n.Input, with(nil, es...))
	for i := range es {
		es[i] = move(es[i], at)
	}
	return &logical.Project{Input: in, Exprs: es, Names: names}, identityMap(need)
}

func pruneWindow(n *logical.Window, need []int) (logical.Node, map[int]int) {
	width := n.Input.Schema().NumFields()
	var below []int
	for _, w := range need {
		if w < width {
			below = append(below, w)
		}
	}
	es := append([]exprT{n.Time}, n.Partition...)
	if n.End != nil {
		es = append(es, n.End)
	}
	in, at := prune(n.Input, with(below, es...))
	c := *n
	c.Input, c.Time = in, move(n.Time, at)
	if n.End != nil {
		c.End = move(n.End, at)
	}
	c.Partition = make([]exprT, len(n.Partition))
	for i, p := range n.Partition {
		c.Partition[i] = move(p, at)
	}
	out, now := map[int]int{}, in.Schema().NumFields()
	for _, w := range need {
		if w < width {
			out[w] = at[w]
		} else {
			out[w] = now + w - width
		}
	}
	return &c, out
}

func pruneAggregate(n *logical.Aggregate, need []int) (logical.Node, map[int]int) {
	c := *n
	c.Aggs = nil
	at := map[int]int{}
	for i := range n.Keys {
		at[i] = i
	}
	var es []exprT
	es = append(es, n.Keys...)
	for i, a := range n.Aggs {
		w := len(n.Keys) + i
		if !slices.Contains(need, w) && (len(n.Keys) > 0 || i > 0 || len(need) > 0) {
			continue
		}
		at[w] = len(n.Keys) + len(c.Aggs)
		c.Aggs = append(c.Aggs, a)
		es = append(es, a.Args...)
		if a.Filter != nil {
			es = append(es, a.Filter)
		}
		for _, k := range a.OrderBy {
			es = append(es, k.Expr)
		}
	}
	in, below := prune(n.Input, with(nil, es...))
	c.Input = in
	c.Keys = make([]exprT, len(n.Keys))
	for i, k := range n.Keys {
		c.Keys[i] = move(k, below)
	}
	for i, a := range c.Aggs {
		c.Aggs[i] = moveAgg(a, below)
	}
	return &c, at
}

// pruneAnalytic drops the calls that nobody reads, and the node with the last.
func pruneAnalytic(n *logical.Analytic, need []int) (logical.Node, map[int]int) {
	width := n.Input.Schema().NumFields()
	c := *n
	c.Calls = nil
	var below []int
	var es []exprT
	out := map[int]int{}
	for _, w := range need {
		if w < width {
			below = append(below, w)
			continue
		}
		out[w] = len(c.Calls)
		c.Calls = append(c.Calls, n.Calls[w-width])
		es = append(es, n.Calls[w-width].Exprs()...)
	}
	if len(c.Calls) == 0 {
		return prune(n.Input, below)
	}
	es = append(es, n.Partition...)
	for _, k := range n.Order {
		es = append(es, k.Expr)
	}
	in, at := prune(n.Input, with(below, es...))
	c.Input = in
	c.Partition = moveAll(n.Partition, at)
	c.Order = slices.Clone(n.Order)
	for i := range c.Order {
		c.Order[i].Expr = move(c.Order[i].Expr, at)
	}
	for i, a := range c.Calls {
		c.Calls[i] = a.WithExprs(moveAll(a.Exprs(), at))
	}
	now := in.Schema().NumFields()
	for w := range out {
		out[w] += now
	}
	for _, w := range below {
		out[w] = at[w]
	}
	return &c, out
}

func moveAgg(a *expr.AggCall, at map[int]int) *expr.AggCall {
	d := *a
	d.Args = make([]exprT, len(a.Args))
	for i, x := range a.Args {
		d.Args[i] = move(x, at)
	}
	if a.Filter != nil {
		d.Filter = move(a.Filter, at)
	}
	d.OrderBy = slices.Clone(a.OrderBy)
	for i := range d.OrderBy {
		d.OrderBy[i].Expr = move(d.OrderBy[i].Expr, at)
	}
	return &d
}

func pruneJoin(n *logical.Join, need []int) (logical.Node, map[int]int) {
	lw := n.Left.Schema().NumFields()
	var res []exprT
	if n.Residual != nil {
		res = []exprT{n.Residual}
	}
	var left, right []int
	for _, w := range with(need, res...) {
		if w < lw {
			left = append(left, w)
		} else {
			right = append(right, w-lw)
		}
	}
	c := *n
	l, lat := prune(n.Left, with(left, n.LeftKeys...))
	r, rat := prune(n.Right, with(right, n.RightKeys...))
	c.Left, c.Right = l, r
	c.LeftKeys, c.RightKeys = moveAll(n.LeftKeys, lat), moveAll(n.RightKeys, rat)
	at, now := map[int]int{}, l.Schema().NumFields()
	for w, p := range lat {
		at[w] = p
	}
	for w, p := range rat {
		at[w+lw] = p + now
	}
	if n.Residual != nil {
		c.Residual = move(n.Residual, at)
	}
	return narrowJoin(&c, need, at)
}

// narrowJoin drops what only the join itself reads, so that it is not copied for
// every pair: the planner makes such a projection part of the join.
func narrowJoin(c *logical.Join, need []int, at map[int]int) (logical.Node, map[int]int) {
	schema := c.Schema()
	if len(need) == 0 || schema.NumFields() <= len(need) {
		return c, at
	}
	es, names := make([]exprT, len(need)), make([]string, len(need))
	for i, w := range need {
		f := schema.Field(at[w])
		es[i], names[i] = &expr.Column{Index: at[w], Name: f.Name, DT: f.Type, Null: f.Nullable}, f.Name
	}
	return &logical.Project{Input: c, Exprs: es, Names: names}, identityMap(need)
}

func moveAll(es []exprT, at map[int]int) []exprT {
	out := make([]exprT, len(es))
	for i, e := range es {
		out[i] = move(e, at)
	}
	return out
}

func move(e exprT, at map[int]int) exprT {
	return expr.Remap(e, func(i int) int { return at[i] })
}

// with returns need and the columns that es read, sorted.
func with(need []int, es ...exprT) []int {
	set := map[int]bool{}
	for _, w := range need {
		set[w] = true
	}
	for _, e := range es {
		expr.Columns(e, set)
	}
	out := make([]int, 0, len(set))
	for w := range set {
		out = append(out, w)
	}
	slices.Sort(out)
	return out
}

func union(a, b []int) []int { return with(append(slices.Clone(a), b...)) }

func identityMap(need []int) map[int]int {
	at := map[int]int{}
	for i, w := range need {
		at[w] = i
	}
	return at
}

// narrowest returns the column of n that costs least to carry, for plans that
// only count rows: a batch without columns is legal but few readers make one.
func narrowest(n logical.Node) []int {
	for i, f := range n.Schema().Fields() {
		if arrow.IsPrimitive(f.Type.ID()) {
			return []int{i}
		}
	}
	if n.Schema().NumFields() > 0 {
		return []int{0}
	}
	return nil
}
