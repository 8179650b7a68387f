package incremental

import (
	"math"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// Interval is what a join's condition says about the event times of a pair:
// Low <= left - right <= High, in microseconds. A side whose bound is missing has
// to be kept for ever.
type Interval struct {
	LeftTime, RightTime int // columns of each side
	Low, High           int64
	HasLow, HasHigh     bool
	// Slack is 1 where the bounds come of comparisons by order: as in Spark, a row that
	// could meet one of exactly the watermark's time, which would be late, waits for the
	// watermark to pass that time. Where times are equal none does.
	Slack int64
	// LeftShift and RightShift are those of the columns: a row comes no later
	// than when its time and the shift are at the watermark.
	LeftShift, RightShift int64
}

// LeftKeep is how long after its time a row of the left side may still meet one;
// false if there is no end.
func (v Interval) LeftKeep() (int64, bool) {
	return max(v.RightShift-v.Low+v.Slack, v.LeftShift), v.HasLow
}

// RightKeep is LeftKeep for the right side.
func (v Interval) RightKeep() (int64, bool) {
	return max(v.LeftShift+v.High+v.Slack, v.RightShift), v.HasHigh
}

// IntervalOf returns how far apart the event times of a join's pairs may be, if
// its condition says so. Both inputs must be rows that are never taken back. Where a
// key of the join is event time, groups close as a whole: only kinds of joins that tell
// of rows without partners gain then, as their pairs need not wait for that.
func IntervalOf(n *logical.Join) (Interval, bool) {
	if n.Residual == nil && len(n.LeftKeys) == 0 || !grows(n.Left) || !grows(n.Right) {
		return Interval{}, false
	}
	left, right := EventTimes(n.Left), EventTimes(n.Right)
	if len(left) == 0 || len(right) == 0 {
		return Interval{}, false
	}
	for k := range n.LeftKeys {
		l, ok1 := timeOf(n.LeftKeys[k], left)
		r, ok2 := timeOf(n.RightKeys[k], right)
		if ok1 && ok2 && l.Shift == r.Shift && !outer(n.Kind) {
			return Interval{}, false
		}
	}
	s := spanReader{n: n, width: n.Left.Schema().NumFields(), left: left, right: right}
	for k := range n.LeftKeys {
		r := expr.Remap(n.RightKeys[k], func(i int) int { return i + s.width })
		s.add(n.LeftKeys[k], r, "=")
	}
	if n.Residual != nil {
		for _, c := range expr.Conjuncts(n.Residual) {
			if call, ok := c.(*expr.Call); ok && len(call.Args) == 2 {
				s.add(call.Args[0], call.Args[1], call.Func.Name)
			}
		}
	}
	return s.best()
}

func outer(k logical.JoinKind) bool {
	return k == logical.LeftOuter || k == logical.RightOuter || k == logical.FullOuter
}

// grows says whether the rows of an input are never taken back: whatever the output
// mode is, or in append mode, for which InAppend has marked what waits.
func grows(n logical.Node) bool {
	switch n := n.(type) {
	case *logical.Scan:
		return n.Table.Stream && n.Table.Changes == batch.OnlyGrows
	case *logical.Filter, *logical.Project, *logical.Watermark, *logical.Generate, *logical.Dedup, *logical.Distinct:
		return grows(n.Inputs()[0])
	case *logical.Analytic:
		return n.AtWatermark
	case *logical.Aggregate:
		return n.Final
	case *logical.Match:
		return n.Final
	case *logical.Window:
		return n.Kind != logical.Session && grows(n.Input)
	case *logical.Union:
		for _, in := range n.In {
			if !grows(in) {
				return false
			}
		}
		return true
	case *logical.Join:
		return n.Final || (n.Kind == logical.Inner || n.Kind == logical.Cross || n.Kind == logical.LeftSemi) && grows(n.Left) && grows(n.Right)
	default:
		return false
	}
}

// spanReader collects bounds of the differences between times of the two sides.
type spanReader struct {
	n           *logical.Join
	width       int
	left, right map[int]Time
	found       []Interval
}

// linear is left - right + by: -1 for a column that is not there.
type linear struct {
	plus, minus int
	by          int64
	ok          bool
}

// read takes apart sums and differences of times and lengths of time.
func read(e expr.Expr) linear {
	out := linear{plus: -1, minus: -1}
	switch e := e.(type) {
	case *expr.Column:
		out.plus, out.ok = e.Index, true
	case *expr.Literal:
		if v, is := e.Value.(int64); is && e.DT.ID() == arrow.DURATION {
			out.by, out.ok = v, true
		}
	case *expr.Call:
		if len(e.Args) != 2 || e.Func.Name != "+" && e.Func.Name != "-" || e.Type().ID() != arrow.TIMESTAMP && e.Type().ID() != arrow.DURATION {
			return out
		}
		a, b := read(e.Args[0]), read(e.Args[1])
		if e.Func.Name == "-" {
			b = b.negated()
		}
		return a.plusOf(b)
	}
	return out
}

func (a linear) negated() linear {
	return linear{plus: a.minus, minus: a.plus, by: -a.by, ok: a.ok && a.by != math.MinInt64}
}

func (a linear) plusOf(b linear) linear {
	out := linear{plus: a.plus, minus: a.minus, by: a.by + b.by, ok: a.ok && b.ok && within(a.by) && within(b.by)}
	if b.plus >= 0 {
		out.ok = out.ok && out.plus < 0
		out.plus = b.plus
	}
	if b.minus >= 0 {
		out.ok = out.ok && out.minus < 0
		out.minus = b.minus
	}
	return out
}

// within keeps sums of bounds inside of int64.
func within(v int64) bool { return v < math.MaxInt64/4 && v > -math.MaxInt64/4 }

// add reads one comparison: a op b is a - b op 0.
func (s *spanReader) add(a, b expr.Expr, op string) {
	d := read(a).plusOf(read(b).negated())
	if !d.ok || d.plus < 0 || d.minus < 0 {
		return
	}
	if d.plus >= s.width { // right - left + by op 0 is left - right - by (op turned) 0
		d = d.negated()
		op = map[string]string{"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "="}[op]
	}
	l, ok1 := s.left[d.plus]
	r, ok2 := s.right[d.minus-s.width]
	if !ok1 || !ok2 {
		return
	}
	v := Interval{LeftTime: d.plus, RightTime: d.minus - s.width, LeftShift: l.Shift, RightShift: r.Shift}
	switch op {
	case "<", "<=":
		v.HasHigh, v.High, v.Slack = true, -d.by, 1
	case ">", ">=":
		v.HasLow, v.Low, v.Slack = true, -d.by, 1
	case "=":
		v.HasLow, v.HasHigh, v.Low, v.High = true, true, -d.by, -d.by
	default:
		return
	}
	if op == "<" {
		v.High--
	} else if op == ">" {
		v.Low++
	}
	s.found = append(s.found, v)
}

// best joins the bounds of the same two columns; the pair that has both counts.
func (s *spanReader) best() (out Interval, ok bool) {
	for i, first := range s.found {
		v := first
		for _, w := range s.found[i+1:] {
			if w.LeftTime != v.LeftTime || w.RightTime != v.RightTime {
				continue
			}
			if w.HasLow && (!v.HasLow || w.Low > v.Low) {
				v.HasLow, v.Low = true, w.Low
			}
			if w.HasHigh && (!v.HasHigh || w.High < v.High) {
				v.HasHigh, v.High = true, w.High
			}
		}
		if !ok || v.HasLow && v.HasHigh && !(out.HasLow && out.HasHigh) {
			out, ok = v, true
		}
	}
	return out, ok
}

// intervalTimes says of the event times of a join's sides how long a row may be
// kept before it comes out. It reports false if the condition bounds nothing.
func intervalTimes(n *logical.Join, left, right map[int]Time) bool {
	v, ok := IntervalOf(n)
	if !ok {
		return false
	}
	keep, bounded := v.LeftKeep()
	later(left, v.LeftTime, keep, bounded)
	keep, bounded = v.RightKeep()
	later(right, v.RightTime, keep, bounded)
	return true
}

// later drops all times of a side but the one that rows are kept by.
func later(times map[int]Time, col int, keep int64, bounded bool) {
	for i := range times {
		if i != col || !bounded {
			delete(times, i)
		}
	}
	if bounded {
		times[col] = Time{Shift: keep, OnTime: true}
	}
}
