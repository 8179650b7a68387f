package fuzz

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// gen makes queries. What it may use is drawn once for a group of tables
// (swarm), so that groups differ in what they stress.
type gen struct {
	r      *rand.Rand
	tables []*table
	ctes   []*cteScope
	names  int
	depth  int // of expressions
	stream bool
	off    map[string]bool // features that this group does without
}

type cteScope struct {
	name string
	cols []column
	rows float64
}

func (g *gen) name(prefix string) string {
	g.names++
	return fmt.Sprintf("%s%d", prefix, g.names)
}

func (g *gen) one(n int) bool { return g.r.IntN(n) == 0 }

func pick[T any](g *gen, s []T) T { return s[g.r.IntN(len(s))] }

// anyType draws a type, more often one of a column.
func (g *gen) anyType(sc []column) typ {
	if len(sc) > 0 && !g.one(4) {
		return pick(g, sc).t
	}
	t := typ{k: kind(g.r.IntN(int(kinds)))}
	if t.k == kDec {
		t.p, t.s = 12, 2
	}
	return t
}

// expr makes an expression of a type over a scope.
func (g *gen) expr(t typ, depth int, sc []column) *node {
	if depth <= 0 || g.one(5) {
		return g.leaf(t, sc)
	}
	if g.one(4) {
		return g.generic(t, depth, sc)
	}
	if t.k == kBool && !g.one(3) {
		return g.predicate(depth, sc)
	}
	if (t.isInt() || t.k == kF64 || t.k == kDec) && !g.one(3) {
		return g.arith(t, depth, sc)
	}
	return g.call(t, depth, sc)
}

func (g *gen) leaf(t typ, sc []column) *node {
	var fit []column
	for _, c := range sc {
		if c.t == t && !c.approx {
			fit = append(fit, c)
		}
	}
	if len(fit) > 0 && !g.one(5) {
		return colNode(pick(g, fit))
	}
	if t.isInt() || t.k == kDec || t.k == kF64 {
		if n := g.widened(t, sc); n != nil && !g.one(4) {
			return n
		}
	}
	return g.literal(t)
}

func colNode(c column) *node {
	if c.e != nil {
		return c.e.clone()
	}
	return &node{t: c.t, s: c.ref, max: c.max, exact: c.exact, approx: c.approx}
}

// widened casts a column of a narrower type.
func (g *gen) widened(t typ, sc []column) *node {
	var fit []column
	for _, c := range sc {
		switch {
		case c.approx:
		case t.isInt() && c.t.isInt() && c.t.k < t.k,
			t.k == kF64 && c.t.isInt() && c.max < 1e9,
			t.k == kDec && c.t.isInt() && c.max < math.Pow10(t.p-t.s)/2:
			fit = append(fit, c)
		}
	}
	if len(fit) == 0 {
		return nil
	}
	c := pick(g, fit)
	return g.cast(colNode(c), t)
}

func (g *gen) cast(e *node, t typ) *node {
	return &node{t: t, s: "CAST($0 AS " + t.name(inSluice) + ")", d: "CAST($0 AS " + t.name(inDuckDB) + ")", args: []*node{e}, max: e.max, exact: e.max < 1e9}
}

func (g *gen) literal(t typ) *node {
	n := &node{t: t, exact: true}
	if g.one(8) {
		n.s, n.d = "CAST(NULL AS "+t.name(inSluice)+")", "CAST(NULL AS "+t.name(inDuckDB)+")"
		return n
	}
	v := value(g.r, t, false)
	n.max = 10000
	switch t.k {
	case kStr:
		n.s = quoted(v)
	case kBool:
		n.s = v
	case kDate:
		n.s = "DATE " + quoted(v)
	case kTs:
		n.s, n.d = "TIMESTAMP_NTZ "+quoted(v), "TIMESTAMP "+quoted(v)
	case kI32:
		n.s, n.d = v, "CAST("+v+" AS INTEGER)"
		if v[0] == '-' {
			n.s = "(" + v + ")"
		}
	default:
		n.s, n.d = "CAST("+v+" AS "+t.name(inSluice)+")", "CAST("+v+" AS "+t.name(inDuckDB)+")"
	}
	return n
}

// arith adds, subtracts, multiplies and negates numbers so that nothing overflows.
func (g *gen) arith(t typ, depth int, sc []column) *node {
	a, b := g.expr(t, depth-1, sc), g.expr(t, depth-1, sc)
	n := &node{t: t, args: []*node{a, b}, exact: a.exact && b.exact}
	limit := t.limit()
	if t.k == kF64 {
		limit = 1e12
	}
	switch op := g.r.IntN(4); {
	case t.k == kDec:
		// The result has more digits; cutting it back rounds half up in both. The
		// magnitude is not tracked: what does not fit is an error in both.
		f := []string{"$0 + $1", "$0 - $1", "-$0", "$0 * CAST(2 AS DECIMAL(1,0))"}[op]
		n.s = "CAST(CASE WHEN abs($0) < 1 AND abs($1) < 1 THEN (" + f + ") END AS " + t.name(inSluice) + ")"
		if t.p-t.s < 2 {
			n.s = "$0"
		}
		return n
	case op == 0 && a.max+b.max < limit:
		n.s, n.max = "($0 + $1)", a.max+b.max
	case op == 1 && a.max+b.max < limit:
		n.s, n.max = "($0 - $1)", a.max+b.max
	case op == 2 && a.max*b.max < limit:
		n.s, n.max = "($0 * $1)", a.max*b.max
		n.exact = n.exact && n.max < 1e6
	case op == 3 && a.max < limit:
		n.args, n.max = []*node{a}, a.max
		n.s = pick(g, []string{"(-$0)", "abs($0)"})
		n.exact = a.exact
	case t.isInt():
		// DuckDB takes its literals for the type of the other side.
		n.args, n.max = []*node{a}, 9
		n.s = "($0 % CAST(10 AS " + t.name(inSluice) + "))"
		n.d = "($0 % CAST(10 AS " + t.name(inDuckDB) + "))"
	default:
		return a
	}
	if t.k == kF64 && n.max > 1e9 {
		n.exact = false
	}
	return n
}

func (g *gen) generic(t typ, depth int, sc []column) *node {
	f := pick(g, generic)
	n := &node{t: t, s: f.s, d: f.d, exact: true}
	for i, a := range f.args {
		if a == 'B' {
			n.args = append(n.args, g.expr(typ{k: kBool}, depth-1, sc))
			continue
		}
		at := t
		if i < len(f.args)-1 && f.s[:6] != "nullif" && g.one(4) {
			at = g.narrower(t) // the last argument alone has the whole type
		}
		e := g.expr(at, depth-1, sc)
		n.args = append(n.args, e)
		n.max = max(n.max, e.max)
		n.exact = n.exact && e.exact
	}
	return n
}

// narrower is a type that is cast to t without being told, or t.
func (g *gen) narrower(t typ) typ {
	switch t.k {
	case kI16, kI32, kI64:
		return typ{k: kind(g.r.IntN(int(t.k)))}
	case kTs:
		return typ{k: kDate}
	case kDec:
		if t.p-t.s >= 10 {
			return typ{k: kind(g.r.IntN(int(kI64)))}
		}
	default: // nothing is cast to it without being told
	}
	return t
}

func (g *gen) predicate(depth int, sc []column) *node {
	t := g.anyType(sc)
	p := pick(g, predicates)
	n := &node{t: typ{k: kBool}, s: p.s, d: p.d}
	for i := range p.n {
		at := t
		if i > 0 && g.one(4) {
			at = g.narrower(t)
		}
		n.args = append(n.args, g.expr(at, depth-1, sc))
	}
	if g.one(2) && len(n.args) > 1 {
		n.args[0], n.args[1] = n.args[1], n.args[0]
	}
	return n
}

func (g *gen) call(t typ, depth int, sc []column) *node {
	var fit []function
	for _, f := range functions {
		if f.out == kI64 && f.args[0] == kF64 && slices.ContainsFunc(g.tables, func(t *table) bool { return t.extreme }) {
			continue
		}
		if f.out == t.k {
			fit = append(fit, f)
		}
	}
	if t.k == kDec {
		return g.decimal(t, depth, sc)
	}
	if len(fit) == 0 {
		return g.leaf(t, sc)
	}
	f := pick(g, fit)
	n := &node{t: t, s: f.s, d: f.d, max: f.max, exact: !f.inexact}
	for _, k := range f.args {
		at := typ{k: k}
		if k == kDec {
			at.p, at.s = 12, 2
			if i := slices.IndexFunc(sc, func(c column) bool { return c.t.k == kDec }); i >= 0 {
				at = sc[i].t
			}
		}
		a := g.expr(at, depth-1, sc)
		if k == kI64 && len(f.args) == 2 && a.max > 1e15 && f.inexact {
			// Both engines divide whole numbers as DOUBLE; beyond 2^53 how they
			// are rounded before is not the same.
			a = g.literal(at)
		}
		n.args = append(n.args, a)
		if t.k == kF64 {
			n.max = max(n.max, a.max)
			n.exact = n.exact && a.exact
		}
	}
	if f.inexact {
		n.max = 1e18 // never summed, and never grown further
	}
	return n
}

// decimal computes with decimals of other digits and casts the result: what does
// not fit is NULL.
func (g *gen) decimal(t typ, depth int, sc []column) *node {
	a, b := typ{k: kDec, p: 9, s: 2}, typ{k: kDec, p: 7, s: 3}
	if i := slices.IndexFunc(sc, func(c column) bool { return c.t.k == kDec && c.t.p <= 11 }); i >= 0 {
		a = sc[i].t
	}
	op := pick(g, []string{"($0 + $1)", "($0 - $1)", "($0 * $1)", "(-$0)", "abs($0)", "greatest($0, $1)", "coalesce($0, $1)", "round($0, 1)", "round($0)"})
	whole := &node{t: t, s: op, args: []*node{g.expr(a, depth-1, sc), g.expr(b, depth-1, sc)}}
	e := g.cast(whole, t)
	e.s, e.d = "TRY_"+e.s, "TRY_"+e.d
	return e
}
