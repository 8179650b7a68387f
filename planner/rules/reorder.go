package rules

import (
	"math/bits"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// ReorderJoins chooses the order of inner joins, and where among them semi and
// anti joins stand, by what the tables are known to hold: the cheapest tree, also
// a bushy one. Where a table of a join is one of which nothing is known, the
// order stays as it was written.
func ReorderJoins(c *Context, n logical.Node) logical.Node {
	if g := newJoinGraph(c, n); g != nil {
		g.implyConstants()
		g.measure()
		if t := g.search(); t != nil {
			// Only now: a plan that is left as it is goes through its inputs once, below.
			for i := range g.leaves {
				l := &g.leaves[i]
				l.node = ReorderJoins(c, l.node)
			}
			out, at := g.build(t)
			return g.restore(filter(out, moveConds(g.top, at)), at, n)
		}
	}
	in := n.Inputs()
	out, changed := make([]logical.Node, len(in)), false
	for i, x := range in {
		out[i] = ReorderJoins(c, x)
		changed = changed || out[i] != x
	}
	if !changed {
		return n
	}
	return n.WithInputs(out)
}

// joinGraph is a tree of joins, flattened. Every column of every leaf has a
// number of its own, from the leaf's first on.
type joinGraph struct {
	c      *Context
	leaves []graphLeaf
	edges  []graphEdge
	conds  []graphCond // of several leaves
	top    []exprT     // conditions that stay above everything
	out    []int       // the numbers of the tree's own columns, in order
	width  int
	m      measured
}

// graphLeaf is an input of the tree. A semi or anti join's right side is a leaf
// that may only be joined to all of needs, from the right.
type graphLeaf struct {
	node     logical.Node
	first    int
	width    int
	kind     logical.JoinKind // Inner, LeftSemi or LeftAnti
	needs    uint32
	residual exprT // of a semi or anti join
}

// graphEdge is a pair of keys between two leaves.
type graphEdge struct {
	l, r         exprT
	lleaf, rleaf uint32 // masks of one leaf; that of a semi join's left key may have several
	nullSafe     bool
	class        int // of columns that are all equal, from 1 on; 0 for none
}

type graphCond struct {
	e      exprT
	leaves uint32
}

// graphMax bounds the leaves of one graph: a tree with more is left as it is.
const graphMax = 30

func newJoinGraph(c *Context, n logical.Node) *joinGraph {
	if !joins(n) {
		return nil
	}
	g := &joinGraph{c: c}
	out, ok := g.flatten(n)
	if !ok || len(g.leaves) < 2 || len(g.leaves) > graphMax {
		return nil
	}
	g.out = out
	conds := g.conds
	g.conds = nil
	for _, x := range conds {
		g.place(x.e)
	}
	for i := range g.edges {
		e := &g.edges[i]
		e.lleaf, e.rleaf = g.mask(e.l), g.mask(e.r)
		if e.lleaf == 0 || bits.OnesCount32(e.rleaf) != 1 || e.lleaf&e.rleaf != 0 {
			return nil
		}
		if g.plain(e.rleaf) && bits.OnesCount32(e.lleaf) != 1 {
			return nil
		}
	}
	return g
}

// joins says whether a tree to be ordered begins at n.
func joins(n logical.Node) bool {
	for {
		switch x := n.(type) {
		case *logical.Filter:
			n = x.Input
		case *logical.Join:
			return isInner(x) || x.Kind == logical.LeftSemi || x.Kind == logical.LeftAnti
		default:
			return false
		}
	}
}

// flatten takes a plan apart and returns the numbers of its columns.
func (g *joinGraph) flatten(n logical.Node) ([]int, bool) {
	switch n := n.(type) {
	case *logical.Filter:
		if !joins(n) {
			break
		}
		cols, ok := g.flatten(n.Input)
		if !ok {
			return nil, false
		}
		for _, c := range expr.Conjuncts(n.Cond) {
			g.conds = append(g.conds, graphCond{e: renumber(c, cols)})
		}
		return cols, true
	case *logical.Project:
		if cols, ok := g.renaming(n); ok {
			return cols, true
		}
	case *logical.Join:
		if isInner(n) {
			return g.flattenInner(n)
		}
		if n.Kind == logical.LeftSemi || n.Kind == logical.LeftAnti {
			return g.flattenSemi(n)
		}
	}
	return g.leaf(n, logical.Inner), true
}

// renaming looks through a projection that passes columns of joins on.
func (g *joinGraph) renaming(n *logical.Project) ([]int, bool) {
	if !joins(n.Input) {
		return nil, false
	}
	for _, e := range n.Exprs {
		if c, ok := e.(*expr.Column); !ok || c.Index < 0 {
			return nil, false
		}
	}
	cols, ok := g.flatten(n.Input)
	if !ok {
		return nil, false
	}
	out := make([]int, len(n.Exprs))
	for i, e := range n.Exprs {
		out[i] = cols[e.(*expr.Column).Index]
	}
	return out, true
}

func (g *joinGraph) leaf(n logical.Node, kind logical.JoinKind) []int {
	w := n.Schema().NumFields()
	g.leaves = append(g.leaves, graphLeaf{node: n, first: g.width, width: w, kind: kind})
	cols := span(g.width, g.width+w)
	g.width += w
	return cols
}

func (g *joinGraph) flattenInner(n *logical.Join) ([]int, bool) {
	l, ok := g.flatten(n.Left)
	if !ok {
		return nil, false
	}
	r, ok := g.flatten(n.Right)
	if !ok {
		return nil, false
	}
	g.keys(n, l, r)
	both := append(append([]int{}, l...), r...)
	for _, c := range expr.Conjuncts(n.Residual) {
		g.conds = append(g.conds, graphCond{e: renumber(c, both)})
	}
	return both, true
}

func (g *joinGraph) keys(n *logical.Join, l, r []int) {
	for i := range n.LeftKeys {
		g.edges = append(g.edges, graphEdge{
			l: renumber(n.LeftKeys[i], l), r: renumber(n.RightKeys[i], r), nullSafe: n.NullSafe != nil && n.NullSafe[i],
		})
	}
}

func (g *joinGraph) flattenSemi(n *logical.Join) ([]int, bool) {
	before := uint32(0)
	if len(g.leaves) > 0 {
		before = 1<<len(g.leaves) - 1
	}
	l, ok := g.flatten(n.Left)
	if !ok || len(g.leaves) >= graphMax {
		return nil, false
	}
	under := uint32(1)<<len(g.leaves) - 1&^before
	r := g.leaf(n.Right, n.Kind)
	leaf := &g.leaves[len(g.leaves)-1]
	g.keys(n, l, r)
	for _, k := range n.LeftKeys {
		leaf.needs |= g.mask(renumber(k, l))
	}
	if n.Residual != nil {
		leaf.residual = renumber(n.Residual, append(append([]int{}, l...), r...))
		leaf.needs |= g.mask(leaf.residual) &^ (1 << (len(g.leaves) - 1))
	}
	if leaf.needs == 0 {
		leaf.needs = under
	}
	return l, true
}

// place puts a condition where it belongs: on its leaf, as a key between two, or
// among those of several.
func (g *joinGraph) place(e exprT) {
	m := g.mask(e)
	switch {
	case m == 0 || !expr.Deterministic(e):
		g.top = append(g.top, e)
	case bits.OnesCount32(m) == 1:
		l := &g.leaves[bits.TrailingZeros32(m)]
		l.node = filter(l.node, []exprT{shift(e, -l.first)})
	default:
		if c, ok := e.(*expr.Call); ok && len(c.Args) == 2 && (c.Func.Infix == "=" || c.Func.Infix == "<=>") &&
			expr.TypeName(c.Args[0].Type()) == expr.TypeName(c.Args[1].Type()) {
			a, b := g.mask(c.Args[0]), g.mask(c.Args[1])
			if bits.OnesCount32(a) == 1 && bits.OnesCount32(b) == 1 && a != b {
				g.edges = append(g.edges, graphEdge{l: c.Args[0], r: c.Args[1], nullSafe: c.Func.Infix == "<=>"})
				return
			}
		}
		g.conds = append(g.conds, graphCond{e: e, leaves: m})
	}
}

// mask tells which leaves an expression reads.
func (g *joinGraph) mask(e exprT) uint32 {
	var m uint32
	for _, c := range with(nil, e) {
		for i, l := range g.leaves {
			if c >= l.first && c < l.first+l.width {
				m |= 1 << i
			}
		}
	}
	return m
}

// plain says whether a leaf's columns go on.
func (g *joinGraph) plain(leaf uint32) bool {
	return g.leaves[bits.TrailingZeros32(leaf)].kind == logical.Inner
}

func renumber(e exprT, cols []int) exprT {
	return expr.Remap(e, func(i int) int {
		if i < 0 {
			return i
		}
		return cols[i]
	})
}

func moveConds(es []exprT, at map[int]int) []exprT {
	out := make([]exprT, len(es))
	for i, e := range es {
		out[i] = move(e, at)
	}
	return out
}

// restore brings the columns into the order that they had.
func (g *joinGraph) restore(out logical.Node, at map[int]int, n logical.Node) logical.Node {
	schema := n.Schema()
	es, names, same := make([]exprT, len(g.out)), make([]string, len(g.out)), out.Schema().NumFields() == len(g.out)
	for i, w := range g.out {
		f := out.Schema().Field(at[w])
		es[i] = &expr.Column{Index: at[w], Name: f.Name, DT: f.Type, Null: f.Nullable}
		names[i] = schema.Field(i).Name
		same = same && at[w] == i && f.Name == names[i]
	}
	if same {
		return out
	}
	return &logical.Project{Input: out, Exprs: es, Names: names}
}

// implyConstants lets a condition that holds a key to constants hold for the
// other keys that must be equal to it.
func (g *joinGraph) implyConstants() {
	for range 2 { // once along a chain, once back
		for _, e := range g.edges {
			if e.nullSafe || bits.OnesCount32(e.lleaf) != 1 {
				continue
			}
			l, r := &g.leaves[bits.TrailingZeros32(e.lleaf)], &g.leaves[bits.TrailingZeros32(e.rleaf)]
			copyConstants(l, r, e.l, e.r)
			if r.kind == logical.Inner || r.kind == logical.LeftSemi {
				copyConstants(r, l, e.r, e.l)
			}
		}
	}
}

// copyConstants copies what the filter of a leaf says of its key alone.
func copyConstants(from, to *graphLeaf, fromKey, toKey exprT) {
	a, ok := fromKey.(*expr.Column)
	b, ok2 := toKey.(*expr.Column)
	f, ok3 := from.node.(*logical.Filter)
	if !ok || !ok2 || !ok3 {
		return
	}
	have := map[string]bool{}
	if g, ok := to.node.(*logical.Filter); ok {
		for _, c := range expr.Conjuncts(g.Cond) {
			have[c.String()] = true
		}
	}
	var add []exprT
	for _, c := range expr.Conjuncts(f.Cond) {
		if !constantBound(c, a.Index-from.first) {
			continue
		}
		moved := expr.Transform(c, func(x exprT) exprT {
			if _, ok := x.(*expr.Column); ok {
				d := *b
				d.Index = b.Index - to.first
				return &d
			}
			return x
		})
		if !have[moved.String()] {
			add = append(add, moved)
		}
	}
	if len(add) == 0 {
		return
	}
	if g, ok := to.node.(*logical.Filter); ok {
		to.node = &logical.Filter{Input: g.Input, Cond: expr.AndAll(append(expr.Conjuncts(g.Cond), add...))}
		return
	}
	to.node = filter(to.node, add)
}

// constantBound is a comparison of one column with constants.
func constantBound(e exprT, col int) bool {
	switch e := e.(type) {
	case *expr.In:
		c, ok := e.Arg.(*expr.Column)
		return ok && c.Index == col && !e.Negated
	case *expr.Call:
		switch e.Func.Infix {
		case "=", "<", "<=", ">", ">=":
		default:
			return false
		}
		for i := range 2 {
			c, ok := e.Args[i].(*expr.Column)
			if _, lit := e.Args[1-i].(*expr.Literal); ok && lit && c.Index == col {
				return true
			}
		}
	}
	return false
}

// close adds the pairs of keys that follow from others: with a = b and b = c, a
// and c may be joined first.
func (g *joinGraph) close() {
	class := map[int]int{} // by column
	members := map[int][]graphEdge{}
	leaves := map[int]uint32{} // of a class: two columns of one leaf are not equal by themselves
	for i := range g.edges {
		e := &g.edges[i]
		l, ok := e.l.(*expr.Column)
		r, ok2 := e.r.(*expr.Column)
		if !ok || !ok2 || e.nullSafe || !g.plain(e.rleaf) || !expr.Equal(typed(l), typed(r)) {
			continue
		}
		for _, m := range []graphEdge{{l: l, lleaf: e.lleaf}, {l: r, lleaf: e.rleaf}} {
			if at := m.l.(*expr.Column).Index; class[at] == 0 {
				class[at] = len(members) + 1
				members[class[at]], leaves[class[at]] = []graphEdge{m}, m.lleaf
			}
		}
		a, b := class[l.Index], class[r.Index]
		if a == b || leaves[a]&leaves[b] != 0 {
			continue
		}
		for _, m := range members[b] {
			class[m.l.(*expr.Column).Index] = a
		}
		members[a], leaves[a] = append(members[a], members[b]...), leaves[a]|leaves[b]
		members[b] = nil
	}
	have := map[[2]int]bool{}
	for i := range g.edges {
		e := &g.edges[i]
		l, ok := e.l.(*expr.Column)
		r, ok2 := e.r.(*expr.Column)
		if ok && ok2 && !e.nullSafe && g.plain(e.rleaf) && class[l.Index] == class[r.Index] {
			e.class = class[l.Index]
			have[[2]int{l.Index, r.Index}], have[[2]int{r.Index, l.Index}] = true, true
		}
	}
	for k := 1; k <= len(members); k++ {
		for i, a := range members[k] {
			for _, b := range members[k][i+1:] {
				at := [2]int{a.l.(*expr.Column).Index, b.l.(*expr.Column).Index}
				if a.lleaf == b.lleaf || have[at] {
					continue
				}
				have[at], have[[2]int{at[1], at[0]}] = true, true
				g.edges = append(g.edges, graphEdge{l: a.l, r: b.l, lleaf: a.lleaf, rleaf: b.lleaf, class: k})
			}
		}
	}
}

// typed stands for the type of a column, to be compared.
func typed(c *expr.Column) exprT { return &expr.Column{DT: c.DT} }
