package rules

import (
	"math"
	"math/bits"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/stats"
)

// What a row costs, in rows that pass a hash table: to be put into one, to come
// out of a join, to cross an exchange.
const (
	costBuild    = 2.0
	costOut      = 1.0
	costExchange = 2.0
	// partitionRows is the size of a hash table that is rather spread over the
	// tasks than held by each.
	partitionRows = 3e6
)

// exactMax is how many leaves are ordered by trying all trees; of more, the
// cheapest pair is joined again and again.
const exactMax = 10

// joinTreeNode is a node of the tree that was chosen: a leaf, or a join of two.
type joinTreeNode struct {
	mask        uint32
	left, right *joinTreeNode
	cost        float64
}

// measured holds the estimates of a graph.
type measured struct {
	rels []*stats.Rel
	rows map[uint32]float64 // by set of leaves
	all  *stats.Rel         // the columns of all leaves side by side
}

func (g *joinGraph) measure() {
	g.m.rows = map[uint32]float64{}
	for i := range g.leaves {
		g.m.rels = append(g.m.rels, g.c.Stats.Of(g.leaves[i].node))
	}
}

// key estimates a key expression over the leaf it reads; of several leaves
// nothing is known.
func (g *joinGraph) key(e exprT, leaf uint32) stats.Col {
	if bits.OnesCount32(leaf) != 1 {
		return stats.Col{}
	}
	i := bits.TrailingZeros32(leaf)
	return stats.Column(shift(e, -g.leaves[i].first), g.m.rels[i])
}

// size estimates the rows of the join of a set of leaves, which are the same
// whatever the order: the leaf with the highest number is added to the others.
func (g *joinGraph) size(mask uint32) float64 {
	if r, ok := g.m.rows[mask]; ok {
		return r
	}
	h := 31 - bits.LeadingZeros32(mask)
	if mask&(mask-1) == 0 {
		return g.m.rels[h].Rows
	}
	// The right side of a semi join changes how many rows there are, not what they are.
	for i := range g.leaves {
		if mask&(1<<i) != 0 && g.leaves[i].kind != logical.Inner {
			h = i
		}
	}
	one := uint32(1) << h
	rest := mask &^ one
	before := g.size(rest)
	r := 0.0
	if g.leaves[h].kind != logical.Inner {
		r = before * g.matched(h, before)
	} else {
		pairs := g.between(rest, one)
		r = before * g.m.rels[h].Rows * stats.Fraction(pairs, before, g.m.rels[h].Rows)
		for _, c := range g.conds {
			if c.leaves&one != 0 && c.leaves&^mask == 0 {
				r *= g.selectivity(c.e)
			}
		}
	}
	g.m.rows[mask] = r
	return r
}

// between lists the keys between two sets, each class of equal columns once for
// a leaf: what follows from the others keeps no more rows away.
func (g *joinGraph) between(a, b uint32) []stats.Pair {
	var out []stats.Pair
	seen := map[int]bool{}
	for _, e := range g.edges {
		l, r, lm, rm := e.l, e.r, e.lleaf, e.rleaf
		if lm&b != 0 {
			l, r, lm, rm = r, l, rm, lm
		}
		if lm&^a != 0 || rm&^b != 0 || e.class > 0 && seen[e.class] {
			continue
		}
		seen[e.class] = true
		out = append(out, stats.Pair{L: g.key(l, lm), R: g.key(r, rm)})
	}
	return out
}

// matched is the share of rows that a semi or anti join with a leaf keeps.
func (g *joinGraph) matched(leaf int, rows float64) float64 {
	l := &g.leaves[leaf]
	var pairs []stats.Pair
	for _, e := range g.edges {
		if e.rleaf == 1<<leaf {
			pairs = append(pairs, stats.Pair{L: g.key(e.l, e.lleaf), R: g.key(e.r, e.rleaf)})
		}
	}
	share := stats.MatchShare(pairs, rows, g.m.rels[leaf], l.residual)
	if l.kind == logical.LeftAnti {
		return max(1-share, 0.02)
	}
	return share
}

// selectivity estimates a condition over the columns of all leaves side by side.
func (g *joinGraph) selectivity(e exprT) float64 {
	if g.m.all == nil {
		g.m.all = &stats.Rel{Rows: 1}
		for _, r := range g.m.rels {
			g.m.all.Rows = max(g.m.all.Rows, r.Rows)
			g.m.all.Cols = append(g.m.all.Cols, r.Cols...)
		}
	}
	return stats.Selectivity(e, g.m.all)
}

// search returns the tree to build; nil to leave the order as it is.
func (g *joinGraph) search() *joinTreeNode {
	for _, r := range g.m.rels {
		if r.Guess {
			return nil
		}
	}
	g.close()
	if len(g.leaves) <= exactMax {
		return g.searchAll()
	}
	return g.searchGreedy()
}

// searchAll tries every tree, sets before supersets.
func (g *joinGraph) searchAll() *joinTreeNode {
	n := len(g.leaves)
	full := uint32(1)<<n - 1
	best := make([]*joinTreeNode, full+1)
	for i := range n {
		best[1<<i] = &joinTreeNode{mask: 1 << i}
	}
	for _, cross := range []bool{false, true} {
		for mask := uint32(3); mask <= full; mask++ {
			if mask&(mask-1) == 0 {
				continue
			}
			for a := (mask - 1) & mask; a > 0; a = (a - 1) & mask {
				if t := g.pair(best[a], best[mask&^a], cross); t != nil && (best[mask] == nil || t.cost < best[mask].cost) {
					best[mask] = t
				}
			}
		}
		if best[full] != nil {
			return best[full]
		}
	}
	return nil
}

// pair joins two trees; nil if they may not be, or if a cheaper way round is
// tried as well. cross allows any two that nothing relates.
func (g *joinGraph) pair(a, b *joinTreeNode, cross bool) *joinTreeNode {
	if a == nil || b == nil {
		return nil
	}
	ra, rb := g.size(a.mask), g.size(b.mask)
	semi := -1
	for i := range g.leaves {
		if g.leaves[i].kind == logical.Inner {
			continue
		}
		one := uint32(1) << i
		if b.mask == one && g.leaves[i].needs&^a.mask == 0 {
			semi = i
		} else if a.mask == one || b.mask == one {
			return nil
		}
	}
	out := g.size(a.mask | b.mask)
	cost := a.cost + b.cost + costOut*out
	if semi >= 0 {
		// The right side is built, or first cut down to the keys of a small left side.
		few := min(costBuild*rb, 2*costBuild*ra+rb)
		cost += few + ra
		if min(ra, rb) > partitionRows {
			cost += costExchange * (ra + rb)
		}
		return &joinTreeNode{mask: a.mask | b.mask, left: a, right: b, cost: cost}
	}
	if ra < rb || ra == rb && a.mask > b.mask { // the smaller side is the right one
		return nil
	}
	if !g.keyed(a.mask, b.mask) && !cross && rb > 1.5 {
		return nil
	}
	cost += costBuild*rb + ra
	if !g.keyed(a.mask, b.mask) {
		cost += ra * rb
	}
	if rb > partitionRows {
		cost += costExchange * (ra + rb)
	}
	return &joinTreeNode{mask: a.mask | b.mask, left: a, right: b, cost: cost}
}

// keyed says whether two sets have a pair of keys between them.
func (g *joinGraph) keyed(a, b uint32) bool {
	for _, e := range g.edges {
		if e.lleaf&^a == 0 && e.rleaf&^b == 0 || e.lleaf&^b == 0 && e.rleaf&^a == 0 {
			return true
		}
	}
	return false
}

// searchGreedy joins the pair that costs least, again and again.
func (g *joinGraph) searchGreedy() *joinTreeNode {
	parts := make([]*joinTreeNode, len(g.leaves))
	for i := range parts {
		parts[i] = &joinTreeNode{mask: 1 << i}
	}
	for len(parts) > 1 {
		var best *joinTreeNode
		for _, cross := range []bool{false, true} {
			least := math.Inf(1)
			for i, a := range parts {
				for k, b := range parts {
					if i == k {
						continue
					}
					t := g.pair(a, b, cross)
					if t == nil {
						continue
					}
					if own := t.cost - a.cost - b.cost; own < least {
						best, least = t, own
					}
				}
			}
			if best != nil {
				break
			}
		}
		if best == nil {
			return nil
		}
		rest := parts[:0]
		for _, p := range parts {
			if p != best.left && p != best.right {
				rest = append(rest, p)
			}
		}
		parts = append(rest, best)
	}
	return parts[0]
}

// build makes the plan of a tree; at tells where each column stands.
func (g *joinGraph) build(t *joinTreeNode) (logical.Node, map[int]int) {
	if t.left == nil {
		l := g.leaves[bits.TrailingZeros32(t.mask)]
		at := map[int]int{}
		for i := range l.width {
			at[l.first+i] = i
		}
		return l.node, at
	}
	left, at := g.build(t.left)
	right, rat := g.build(t.right)
	j := &logical.Join{Left: left, Right: right, Kind: logical.Inner}
	if bits.OnesCount32(t.right.mask) == 1 {
		j.Kind = g.leaves[bits.TrailingZeros32(t.right.mask)].kind
	}
	used := map[int]bool{} // classes of equal columns: within a side they are equal already
	for _, e := range g.edges {
		l, r := e.l, e.r
		switch {
		case e.lleaf&^t.left.mask == 0 && e.rleaf&^t.right.mask == 0:
		case e.rleaf&^t.left.mask == 0 && e.lleaf&^t.right.mask == 0:
			l, r = r, l
		default:
			continue
		}
		if e.class > 0 && used[e.class] {
			continue
		}
		used[e.class] = true
		addJoinKey(j, move(l, at), move(r, rat), e.nullSafe)
	}
	lw := left.Schema().NumFields()
	for c, p := range rat {
		at[c] = p + lw
	}
	var rest []exprT
	if j.Kind != logical.Inner {
		if r := g.leaves[bits.TrailingZeros32(t.right.mask)].residual; r != nil {
			rest = append(rest, move(r, at))
		}
		j.Residual = expr.AndAll(rest)
		for c := range rat {
			delete(at, c)
		}
		return j, at
	}
	for _, c := range g.conds {
		if c.leaves&^t.mask == 0 && c.leaves&^t.left.mask != 0 && c.leaves&^t.right.mask != 0 {
			rest = append(rest, move(c.e, at))
		}
	}
	if len(j.LeftKeys) == 0 {
		j.Kind = logical.Cross
		return filter(j, rest), at
	}
	j.Residual = expr.AndAll(rest)
	return j, at
}
