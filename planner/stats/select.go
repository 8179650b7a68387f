package stats

import (
	"math"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"github.com/sluice-stream/sluice/planner/expr"
)

// Shares of rows that a condition of which nothing is known keeps.
const (
	guessEqual = 0.1
	guessRange = 1.0 / 3
	guessLike  = 0.05
	guessOther = 0.25
)

// Selectivity is the share of in's rows for which e is true, between 0 and 1.
func Selectivity(e expr.Expr, in *Rel) float64 {
	return clamp(selectivity(e, in))
}

func clamp(f float64) float64 { return min(1, max(0, f)) }

func selectivity(e expr.Expr, in *Rel) float64 {
	switch e := e.(type) {
	case *expr.Literal:
		if e.Value == true {
			return 1
		}
		return 0
	case *expr.Logical:
		if e.Op == expr.And {
			return conjunction(expr.Conjuncts(e), in)
		}
		none := 1.0
		for _, a := range e.Args {
			none *= 1 - Selectivity(a, in)
		}
		return 1 - none
	case *expr.In:
		s := clamp(float64(len(e.List)) * equal(e.Arg, nil, in))
		if len(e.List) > 0 {
			s = clamp(float64(len(e.List)) * equal(e.Arg, e.List[0], in))
		}
		if e.Negated {
			return 1 - s
		}
		return s
	case *expr.Call:
		return call(e, in)
	case *expr.Column:
		return 0.5
	}
	return guessOther
}

// conjunction multiplies, but takes the two ends of one range together.
func conjunction(cs []expr.Expr, in *Rel) float64 {
	type ends struct{ lo, hi float64 }
	ranges := map[int]*ends{}
	var order []int
	s := 1.0
	for _, c := range cs {
		col, op, v, ok := comparison(c)
		if !ok || op == "=" || op == "<>" || col >= len(in.Cols) || !in.Cols[col].Bounded {
			s *= Selectivity(c, in)
			continue
		}
		r := ranges[col]
		if r == nil {
			r = &ends{math.Inf(-1), math.Inf(1)}
			ranges[col] = r
			order = append(order, col)
		}
		if op == ">" || op == ">=" {
			r.lo = max(r.lo, v)
		} else {
			r.hi = min(r.hi, v)
		}
	}
	for _, col := range order {
		s *= between(in.Cols[col], ranges[col].lo, ranges[col].hi)
	}
	return s
}

// between is the share of a column's rows from lo to hi.
func between(c Col, lo, hi float64) float64 {
	lo, hi = max(lo, c.Lo), min(hi, c.Hi)
	if lo > hi {
		return 0
	}
	if c.Hi <= c.Lo {
		return 1 - c.Nulls
	}
	s := (hi - lo) / (c.Hi - c.Lo)
	if c.Distinct > 0 {
		s = max(s, 1/c.Distinct)
	}
	return clamp(s) * (1 - c.Nulls)
}

// comparison takes apart column OP number, either way round.
func comparison(e expr.Expr) (col int, op string, v float64, ok bool) {
	c, is := e.(*expr.Call)
	if !is || len(c.Args) != 2 || !compares(c.Func.Infix) {
		return 0, "", 0, false
	}
	op = c.Func.Infix
	l, r := c.Args[0], c.Args[1]
	if i, isCol := columnOf(l); isCol {
		v, ok = value(r)
		return i, op, v, ok
	}
	if i, isCol := columnOf(r); isCol {
		v, ok = value(l)
		return i, expr.Flipped(op), v, ok
	}
	return 0, "", 0, false
}

func compares(op string) bool {
	switch op {
	case "=", "<>", "!=", "<", "<=", ">", ">=", "<=>", "==":
		return true
	}
	return false
}

// columnOf looks through casts, which keep the order of values.
func columnOf(e expr.Expr) (int, bool) {
	for {
		switch x := e.(type) {
		case *expr.Column:
			return x.Index, x.Index >= 0
		case *expr.Cast:
			e = x.Arg
		default:
			return 0, false
		}
	}
}

// value reads a constant as the number that bounds of its type are in.
func value(e expr.Expr) (float64, bool) {
	for {
		c, ok := e.(*expr.Cast)
		if !ok {
			break
		}
		e = c.Arg
	}
	l, ok := e.(*expr.Literal)
	if !ok {
		return 0, false
	}
	if d, ok := l.Value.(decimal128.Num); ok {
		if t, ok := l.DT.(*arrow.Decimal128Type); ok {
			return d.ToFloat64(t.Scale), true
		}
	}
	return number(l.Value)
}

func call(e *expr.Call, in *Rel) float64 {
	switch e.Func.Infix {
	case "=", "==", "<=>":
		return equality(e, in)
	case "<>", "!=":
		return 1 - equality(e, in)
	case "<", "<=", ">", ">=":
		if col, op, v, ok := comparison(e); ok && col < len(in.Cols) && in.Cols[col].Bounded {
			if op == "<" || op == "<=" {
				return between(in.Cols[col], math.Inf(-1), v)
			}
			return between(in.Cols[col], v, math.Inf(1))
		}
		return guessRange
	}
	switch e.Func.Name {
	case "not":
		return 1 - Selectivity(e.Args[0], in)
	case "is_null", "is_not_null":
		s := 0.05
		if i, ok := columnOf(e.Args[0]); ok && i < len(in.Cols) && !in.Guess {
			s = in.Cols[i].Nulls
		}
		if e.Func.Name == "is_not_null" {
			return 1 - s
		}
		return s
	case "like", "ilike":
		return like(e, in)
	case "startswith", "endswith", "contains", "rlike", "regexp", "regexp_like":
		return guessLike
	}
	return guessOther
}

// like is narrow where the pattern has much text that must be found.
func like(e *expr.Call, in *Rel) float64 {
	l, ok := e.Args[1].(*expr.Literal)
	if !ok {
		return guessLike
	}
	p, _ := l.Value.(string)
	if !strings.ContainsAny(p, "%_") {
		return equal(e.Args[0], l, in)
	}
	fixed := len(p) - strings.Count(p, "%") - strings.Count(p, "_")
	return max(0.005, 0.2*math.Pow(0.75, float64(fixed)))
}

func equality(e *expr.Call, in *Rel) float64 {
	l, r := e.Args[0], e.Args[1]
	if lit, ok := r.(*expr.Literal); ok {
		return equal(l, lit, in)
	}
	if lit, ok := l.(*expr.Literal); ok {
		return equal(r, lit, in)
	}
	return 1 / max(distinctOf(l, in), distinctOf(r, in), 1)
}

// equal is the share of rows where e is one given value.
func equal(e expr.Expr, lit *expr.Literal, in *Rel) float64 {
	if i, ok := columnOf(e); ok && i < len(in.Cols) {
		c := in.Cols[i]
		if lit != nil && c.Bounded {
			if v, ok := value(lit); ok && (v < c.Lo || v > c.Hi) {
				return 0
			}
		}
	}
	if d := distinctOf(e, in); d > 0 {
		return 1 / d
	}
	return guessEqual
}

// distinctOf is how many values an expression has, 0 if it cannot be told: no
// more than the columns it reads.
func distinctOf(e expr.Expr, in *Rel) float64 {
	set := map[int]bool{}
	expr.Columns(e, set)
	d := 1.0
	for i := range set {
		if i < 0 || i >= len(in.Cols) || in.Cols[i].Distinct == 0 {
			return 0
		}
		d *= in.Cols[i].Distinct
	}
	if _, ok := columnOf(e); !ok {
		d = math.Pow(d, 0.75) // most functions bring values together
	}
	return max(1, min(d, in.Rows))
}
