package incremental

import (
	"maps"
	"slices"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// Time says what a column tells about event time: a row may be forgotten once
// its value plus Shift is at or before the watermark.
type Time struct {
	Shift  int64 // microseconds
	OnTime bool  // made by an operator that emits closed windows only: such rows are never late
	Clock  bool  // it is not event time but the time of the batch, which passes by itself
}

// Before reports whether what ends by t is over before what ends by o; an end by
// event time is preferred to one by the clock.
func (t Time) Before(o Time) bool {
	return t.Clock == o.Clock && t.Shift < o.Shift || !t.Clock && o.Clock
}

// Bound is that of a state that t ends.
func (t Time) Bound() Bound {
	if t.Clock {
		return ByClock
	}
	return ByWatermark
}

// EventTimes returns the columns of n that carry event time under a watermark.
func EventTimes(n logical.Node) map[int]Time {
	out := timesOf(n)
	maps.DeleteFunc(out, func(_ int, t Time) bool { return t.Clock })
	return out
}

// timesOf returns the columns of n that carry a time which passes, be it event time
// under a watermark or the batch's own.
func timesOf(n logical.Node) map[int]Time {
	switch n := n.(type) {
	case *logical.Watermark:
		out := timesOf(n.Input)
		out[n.Col] = Time{}
		return out
	case *logical.Project:
		return throughExprs(n.Exprs, timesOf(n.Input))
	case *logical.Window:
		return windowTimes(n)
	case *logical.Aggregate:
		return closedTimes(n.Keys, n.Input, throughExprs(n.Keys, timesOf(n.Input)))
	case *logical.Match:
		return matchTimes(n)
	case *logical.Analytic:
		if n.AtWatermark {
			return orderTime(n)
		}
		return versionTimes(n, timesOf(n.Input))
	case *logical.Join:
		return joinTimes(n)
	case *logical.Union:
		return unionTimes(n)
	case *logical.Process:
		return processTimes(n)
	case *logical.Scan, *logical.Values, *logical.Range, *logical.WorkTable, *logical.Recursive:
		return map[int]Time{}
	default:
		return timesOf(n.Inputs()[0])
	}
}

// throughExprs follows columns that a list of expressions passes on unchanged.
func throughExprs(es []expr.Expr, in map[int]Time) map[int]Time {
	out := map[int]Time{}
	for i, e := range es {
		if t, ok := timeOf(e, in); ok {
			out[i] = t
		}
	}
	return out
}

// TimeOf returns what an expression over n says about event time.
func TimeOf(e expr.Expr, n logical.Node) (Time, bool) { return timeOf(e, EventTimes(n)) }

// EndOf is TimeOf that knows the clock, too.
func EndOf(e expr.Expr, n logical.Node) (Time, bool) { return timeOf(e, timesOf(n)) }

// timeOf reads a column, or one that is moved by a constant length of time, as
// window_time(w) is w.end less the last instant: such a time is passed by the
// watermark that much sooner or later. It knows the batch's own time as well.
func timeOf(e expr.Expr, in map[int]Time) (Time, bool) {
	if c, ok := e.(*expr.Call); ok && len(c.Args) == 0 && isNow(c.Func) { // no row comes with an earlier one
		return Time{OnTime: true, Clock: true}, true
	}
	l := read(e)
	if !l.ok || l.plus < 0 || l.minus >= 0 {
		return Time{}, false
	}
	t, ok := in[l.plus]
	t.Shift -= l.by
	return t, ok
}

// windowTimes adds the window's columns where the window is over event time. A
// hopping window's own end decides about each of the rows it makes.
func windowTimes(n *logical.Window) map[int]Time {
	out := timesOf(n.Input)
	t, ok := timeOf(n.Time, out)
	if !ok {
		return out
	}
	width := n.Input.Schema().NumFields()
	if n.Kind == logical.Session && Changing(n.Input) {
		return out // a row that is taken back may cut a session that has closed
	}
	if n.Kind == logical.Session { // its rows come out on time, see the planner
		late := max(0, t.Shift-1)
		out[width+1] = Time{Shift: late, OnTime: true, Clock: t.Clock}
		out[width+2] = Time{Shift: 1 + late, OnTime: true, Clock: t.Clock}
		return out
	}
	size := n.Size.Microseconds()
	// The last instant of a window is one before its end.
	late := max(0, t.Shift-1)
	if n.Kind != logical.Cumulate { // a cumulating window's start does not tell its end
		out[width] = Time{Shift: size + late, OnTime: t.OnTime, Clock: t.Clock}
	}
	out[width+1] = Time{Shift: late, OnTime: t.OnTime, Clock: t.Clock}
	out[width+2] = Time{Shift: 1 + late, OnTime: t.OnTime, Clock: t.Clock}
	return out
}

// Changing reports whether a source takes rows back that n is made of, and nothing
// in between waits until they are final.
func Changing(n logical.Node) bool {
	switch n := n.(type) {
	case *logical.Scan:
		return n.Table.Stream && n.Table.Changes != batch.OnlyGrows
	case *logical.Aggregate:
		if end, _ := EndKey(n); end >= 0 {
			return false
		}
	case *logical.Process:
		if n.Def.Outputs[n.Output].Time != nil { // it makes rows of its own, and takes none back
			return false
		}
	}
	return slices.ContainsFunc(n.Inputs(), Changing)
}

// joinTimes takes the sides that are never filled up with NULL. A join of two streams
// whose pairs are not bounded in time passes no event time on: an old row makes pairs
// with those that come at any time later, as in Flink's regular join. Of a join by
// equal times, as of windows, these are left: it drops what comes after they have passed.
func joinTimes(n *logical.Join) map[int]Time {
	out, right := timesOf(n.Left), timesOf(n.Right)
	if logical.Streaming(n.Left) && logical.Streaming(n.Right) && !intervalTimes(n, out, right) {
		keyTimes(n, out, right)
	}
	switch n.Kind {
	case logical.LeftSemi, logical.LeftAnti, logical.LeftOuter:
		return out
	case logical.FullOuter:
		return map[int]Time{}
	case logical.RightOuter:
		out = map[int]Time{}
	case logical.Inner, logical.Cross:
	}
	lw := n.Left.Schema().NumFields()
	for i, t := range right {
		out[i+lw] = t
	}
	return out
}

// keyTimes leaves the times by which a join's sides are joined, if they pass on both
// at once: its groups close by the one that passes first.
func keyTimes(n *logical.Join, left, right map[int]Time) {
	times := map[int]Time{}
	for k := range n.LeftKeys {
		l, ok1 := timeOf(n.LeftKeys[k], left)
		r, ok2 := timeOf(n.RightKeys[k], right)
		if ok1 && ok2 && l.Shift == r.Shift && l.Clock == r.Clock {
			times[k] = l
		}
	}
	l, r := maps.Clone(left), maps.Clone(right)
	clear(left)
	clear(right)
	ends, others := closedTimes(n.LeftKeys, n.Left, maps.Clone(times)), closedTimes(n.RightKeys, n.Right, times)
	for k := range ends {
		if _, both := others[k]; !both {
			continue
		}
		for _, side := range []struct {
			key     expr.Expr
			in, out map[int]Time
		}{{n.LeftKeys[k], l, left}, {n.RightKeys[k], r, right}} {
			if col := read(side.key).plus; col >= 0 {
				t := side.in[col]
				t.OnTime = true
				side.out[col] = t
			}
		}
	}
}

// closedTimes leaves of the times of an operator's keys, by place among the keys, that
// by which its groups close, and those that pass in the same moment. What it puts out
// is on time by them; by any other key a row may come when its time is long over.
func closedTimes(keys []expr.Expr, in logical.Node, times map[int]Time) map[int]Time {
	best := earliest(times)
	for k, t := range times {
		if k != best && !sameMoment(in, read(keys[k]).plus, read(keys[best]).plus) {
			delete(times, k)
			continue
		}
		t.OnTime = true
		times[k] = t
	}
	return times
}

// earliest is the place whose time passes first; of equals the first. -1 if there is none.
func earliest(times map[int]Time) int {
	best := -1
	for i, t := range times {
		if best < 0 || t.Before(times[best]) || !times[best].Before(t) && i < best {
			best = i
		}
	}
	return best
}

// sameMoment reports whether two columns are of one window, whose start and end pass
// at once.
func sameMoment(n logical.Node, a, b int) bool {
	if a == b || a < 0 || b < 0 {
		return a == b && a >= 0
	}
	switch n := n.(type) {
	case *logical.Aggregate:
		return a < len(n.Keys) && b < len(n.Keys) && sameMoment(n.Input, read(n.Keys[a]).plus, read(n.Keys[b]).plus)
	case *logical.Project:
		return sameMoment(n.Input, read(n.Exprs[a]).plus, read(n.Exprs[b]).plus)
	case *logical.Join:
		if lw := n.Left.Schema().NumFields(); a >= lw && b >= lw {
			return sameMoment(n.Right, a-lw, b-lw)
		} else if a < lw && b < lw {
			return sameMoment(n.Left, a, b)
		}
		return false
	case *logical.Window:
		width := n.Input.Schema().NumFields()
		if a < width && b < width {
			return sameMoment(n.Input, a, b)
		}
		return min(a, b) > width || min(a, b) == width && (n.Kind == logical.Tumble || n.Kind == logical.Hop)
	case *logical.Filter, *logical.Sort, *logical.Watermark, *logical.Distinct, *logical.Dedup, *logical.Limit, *logical.LimitBy:
		return sameMoment(n.Inputs()[0], a, b)
	case *logical.Analytic, *logical.Generate:
		width := n.Inputs()[0].Schema().NumFields()
		return a < width && b < width && sameMoment(n.Inputs()[0], a, b)
	default:
		return false
	}
}

// LosesTime finds the join nearest to n, at it or below, that passes none of the event
// times of its sides on; nil if there is none.
func LosesTime(n logical.Node) *logical.Join {
	if j, ok := n.(*logical.Join); ok && logical.Streaming(j.Left) && logical.Streaming(j.Right) &&
		len(EventTimes(j)) == 0 && len(EventTimes(j.Left))+len(EventTimes(j.Right)) > 0 {
		return j
	}
	for _, in := range n.Inputs() {
		if j := LosesTime(in); j != nil {
			return j
		}
	}
	return nil
}

// unionTimes keeps what all inputs agree on that have more than NULL there.
func unionTimes(n *logical.Union) map[int]Time {
	out := timesOf(n.In[0])
	for _, in := range n.In[1:] {
		other := timesOf(in)
		for i, t := range out {
			o, ok := other[i]
			if p, is := in.(*logical.Project); is && isNull(p.Exprs[i]) {
				continue
			}
			// Rows that are on time by construction may come long after the watermark has
			// passed them: among others nobody could tell them from late ones.
			if !ok || o != t {
				delete(out, i)
			}
		}
	}
	return out
}

// orderTime is the time by which the rows come out.
func orderTime(n *logical.Analytic) map[int]Time {
	out := map[int]Time{}
	if c, ok := n.Order[0].Expr.(*expr.Column); ok {
		if t, ok := TimeOf(c, n.Input); ok {
			out[c.Index] = Time{Shift: t.Shift, OnTime: true}
		}
	}
	return out
}

// processTimes takes what the processor says of its output. It drops itself what is
// late: by its own rule, since what a timer puts out may be behind the watermark.
func processTimes(n *logical.Process) map[int]Time {
	out := map[int]Time{}
	if t := n.Def.Outputs[n.Output].Time; t != nil && underWatermark(n) {
		shift, _ := ProcessTimes(n)
		out[t.Column] = Time{Shift: shift + t.Delay.Microseconds(), OnTime: true}
	}
	return out
}

// underWatermark reports whether a watermark is declared below n.
func underWatermark(n logical.Node) bool {
	if _, ok := n.(*logical.Watermark); ok {
		return true
	}
	return slices.ContainsFunc(n.Inputs(), underWatermark)
}

// ProcessTimes tells of the event times of a processor: how far they may lie behind
// the watermark, of both inputs together, and for each input the column of rows that are
// on time by construction, -1 if they are as a source has them. Of several columns
// of an input the one counts that is told first that its time has passed.
func ProcessTimes(n *logical.Process) (shift int64, onTime [2]int) {
	onTime = [2]int{-1, -1}
	for i, in := range []logical.Node{n.Input, n.Other} {
		if in == nil {
			continue
		}
		column, t := -1, Time{}
		for c, x := range EventTimes(in) {
			if column < 0 || x.Shift < t.Shift || x.Shift == t.Shift && c < column {
				column, t = c, x
			}
		}
		if shift = max(shift, t.Shift); t.OnTime {
			onTime[i] = column
		}
	}
	return shift, onTime
}

// isNow reports whether a function is the batch's time.
func isNow(f *expr.Function) bool {
	switch f.Name {
	case "now", "current_timestamp", "localtimestamp", "proctime":
		return f.Volatility == expr.Stable
	}
	return false
}
