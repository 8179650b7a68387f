package incremental

import (
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// Versioned recognises the window function that a join with the version of a row
// at a time becomes: of each partition, in the order of event time, the last value
// so far. What it gives for a row is known for good once the watermark has passed
// the row's time. It returns the column of that time.
func Versioned(n *logical.Analytic) (int, bool) {
	if len(n.Calls) != 1 || len(n.Order) != 2 || n.Order[0].Desc {
		return 0, false
	}
	c := n.Calls[0]
	f := c.Frame
	last := c.Kind == expr.NthValue && c.N == -1 && c.IgnoreNulls && len(c.Args) == 1
	if !last || f.Unit != expr.FrameRows || f.Start.Kind != expr.UnboundedPreceding || f.End.Kind != expr.CurrentRow || f.Exclude != expr.ExcludeNone {
		return 0, false
	}
	col, ok := n.Order[0].Expr.(*expr.Column)
	if _, isColumn := c.Args[0].(*expr.Column); !ok || !isColumn || !grows(n.Input) {
		return 0, false
	}
	_, timed := EventTimes(n.Input)[col.Index]
	return col.Index, timed
}

// versionTimes are the columns that are the time by which the rows come out.
func versionTimes(n *logical.Analytic, out map[int]Time) map[int]Time {
	at, ok := Versioned(n)
	if !ok {
		return out
	}
	u, _ := n.Input.(*logical.Union)
	for i, t := range out {
		if i != at && (u == nil || !sameTime(u, i, at)) {
			delete(out, i)
			continue
		}
		t.OnTime = true
		out[i] = t
	}
	return out
}

// sameTime says whether one column of a union is another one, or NULL.
func sameTime(u *logical.Union, i, at int) bool {
	for _, in := range u.In {
		p, ok := in.(*logical.Project)
		if !ok || !isNull(p.Exprs[i]) && !expr.Equal(p.Exprs[i], p.Exprs[at]) {
			return false
		}
	}
	return true
}

func isNull(e expr.Expr) bool {
	l, ok := e.(*expr.Literal)
	return ok && l.Value == nil
}
