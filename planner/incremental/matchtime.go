package incremental

import (
	"slices"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// matchTimes keeps the time of a partition, which closes with it. Else the times of
// a match's rows are event time if matches come out as they are decided, and it is
// known how long after those rows that is.
func matchTimes(n *logical.Match) map[int]Time {
	out, in := map[int]Time{}, timesOf(n.Input)
	for at, c := range n.Spec.Cols {
		for _, p := range n.Partition {
			if col, ok := p.(*expr.Column); ok && col.Index == c {
				if t, ok := in[c]; ok {
					out[at] = Time{Shift: t.Shift, OnTime: true, Clock: t.Clock}
				}
			}
		}
	}
	if len(out) == 0 && n.Final {
		decidedTimes(n, out)
	}
	return out
}

// decidedTimes finds the event times of a match's rows among the output. WITHIN
// decides about a match as much after its first row, and so not later than that after
// any of its rows; about one with a fixed number of rows its last row does. Without
// either, a match may wait for rows that come at any time.
func decidedTimes(n *logical.Match, out map[int]Time) {
	by, ok := n.Order[0].Expr.(*expr.Column)
	t, timed := TimeOf(n.Order[0].Expr, n.Input)
	if !ok || !timed || n.Spec.Empty == expr.ShowUnmatched || looksBehind(n.Spec) {
		return
	}
	within := n.Spec.Within > 0
	last, fixed := n.Spec.Pattern.Fixed()
	if !within && !fixed {
		return
	}
	t = Time{Shift: t.Shift + max(0, n.Spec.Within-1), OnTime: true}
	slots := map[int]Time{}
	for i, s := range n.Spec.Slots {
		col, is := s.Value.(*expr.Column)
		if s.Kind != expr.SlotValue || s.Offset != 0 || !is || col.Index != by.Index {
			continue
		}
		lastRow := !s.First && s.N == 0 && (s.Vars == nil || slices.Contains(s.Vars, last))
		if within || lastRow {
			slots[i] = t
		}
	}
	for at, c := range n.Spec.Cols {
		if c >= 0 {
			if c == by.Index && within {
				out[at] = t
			}
		} else if t, ok := timeOf(n.Spec.Measures[^c], slots); ok && !t.Clock {
			out[at] = t
		}
	}
}

// looksBehind reports whether it takes a row that comes later to tell what a row is.
func looksBehind(s *expr.MatchSpec) bool {
	_, define := s.Reach()
	_, measures := s.MeasureReach()
	return define > 0 || measures > 0
}
