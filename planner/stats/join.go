package stats

import (
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// Pair is a pair of join keys.
type Pair struct{ L, R Col }

// Pairs estimates the keys of a join.
func Pairs(left, right []expr.Expr, l, r *Rel) []Pair {
	out := make([]Pair, len(left))
	for i := range left {
		out[i] = Pair{colOf(left[i], l), colOf(right[i], r)}
	}
	return out
}

// Column estimates an expression over a result.
func Column(e expr.Expr, in *Rel) Col { return colOf(e, in) }

// Fraction is the share of all pairs of rows that agree in the keys. Keys that
// come from the same two tables are taken together: no more combinations of them
// differ than the table has rows.
func Fraction(pairs []Pair, lrows, rrows float64) float64 {
	f := 1.0
	done := make([]bool, len(pairs))
	for i := range pairs {
		if done[i] {
			continue
		}
		group := []Pair{pairs[i]}
		for k := i + 1; k < len(pairs); k++ {
			if !done[k] && sameTables(pairs[i], pairs[k]) {
				done[k] = true
				group = append(group, pairs[k])
			}
		}
		f /= denominator(group, lrows, rrows)
	}
	return f
}

func sameTables(a, b Pair) bool {
	return a.L.Origin != nil && a.L.Origin == b.L.Origin && a.R.Origin != nil && a.R.Origin == b.R.Origin
}

// side is one half of the keys of a join between two tables.
type side struct {
	domain       float64
	unique, sure bool
}

func denominator(pairs []Pair, lrows, rrows float64) float64 {
	ls, rs := make([]Col, len(pairs)), make([]Col, len(pairs))
	for i, p := range pairs {
		ls[i], rs[i] = p.L, p.R
	}
	l, r := composite(ls, lrows), composite(rs, rrows)
	d := max(l.domain, r.domain)
	switch {
	case l.unique && r.unique && (l.sure == r.sure || l.domain < r.domain == l.sure):
		// One row for one, or a reference whose values only look unique: the latter
		// is what most joins are, unless the larger side is known to be unique.
		if d = min(l.domain, r.domain); l.sure && r.sure {
			d = max(l.domain, r.domain)
		}
	case l.unique && (!r.unique || l.sure):
		d = l.domain
	case r.unique:
		d = r.domain
	}
	return max(d, 1)
}

// composite takes the keys of one side together.
func composite(cols []Col, rows float64) side {
	if len(cols) == 1 {
		c := cols[0]
		d := max(c.Domain, c.Distinct)
		if d == 0 {
			d = max(1, max(rows, c.Base)*defaultDistinct)
		}
		return side{domain: d, unique: c.Unique, sure: c.Sure}
	}
	product, base := 1.0, rows
	for _, c := range cols {
		d := max(c.Domain, c.Distinct)
		if d == 0 {
			d = max(1, max(rows, c.Base)*defaultDistinct)
		}
		product *= d
		if c.Base > 0 {
			base = max(base, c.Base)
		}
	}
	if product >= base {
		return side{domain: max(base, 1), unique: true}
	}
	return side{domain: product}
}

// Joined estimates a join.
func Joined(l, r *Rel, kind logical.JoinKind, pairs []Pair, residual expr.Expr) *Rel {
	if kind == logical.LeftSemi || kind == logical.LeftAnti {
		share := MatchShare(pairs, l.Rows, r, residual)
		if kind == logical.LeftAnti {
			share = max(1-share, 0.02)
		}
		out := l.scaled(l.Rows * share)
		out.Guess = l.Guess || r.Guess
		return out
	}
	both := &Rel{Guess: l.Guess || r.Guess, Cols: append(append(make([]Col, 0, len(l.Cols)+len(r.Cols)), l.Cols...), r.Cols...)}
	rows := l.Rows * r.Rows * Fraction(pairs, l.Rows, r.Rows)
	both.Rows = rows
	if residual != nil {
		rows *= conjunctionOf(residual, both)
	}
	switch kind {
	case logical.LeftOuter:
		rows = max(rows, l.Rows)
	case logical.RightOuter:
		rows = max(rows, r.Rows)
	case logical.FullOuter:
		rows = max(rows, l.Rows, r.Rows)
	default: // the others make up no rows
	}
	both.Rows = rows
	for i := range both.Cols {
		of := l.Rows
		if i >= len(l.Cols) {
			of = r.Rows
		}
		both.Cols[i] = both.Cols[i].kept(rows, of)
		if rows > 1.05*of { // values repeat now
			both.Cols[i].Base = max(both.Cols[i].Base, 1)
		}
	}
	return both
}

func conjunctionOf(e expr.Expr, in *Rel) float64 { return clamp(conjunction(expr.Conjuncts(e), in)) }

// MatchShare is the share of the left rows that have a match on the right.
func MatchShare(pairs []Pair, lrows float64, r *Rel, residual expr.Expr) float64 {
	if r.Rows <= 0 {
		return 0
	}
	share := 1.0
	for _, p := range pairs {
		ld, rd := max(p.L.Domain, p.L.Distinct), p.R.distinct(r.Rows)
		if ld == 0 {
			ld = max(1, max(lrows, p.L.Base)*defaultDistinct)
		}
		if p.R.Domain > 0 && p.L.Unique && !p.L.Sure {
			ld = max(1, min(ld, max(p.R.Domain, rd)))
		}
		if p.L.Unique { // the right side's values are some of these
			ld = max(p.L.Domain, rd)
		}
		share = min(share, clamp(rd/ld))
	}
	for range expr.Conjuncts(residual) {
		share *= 0.8
	}
	return share
}
