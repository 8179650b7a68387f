package incremental

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// Lookback is how far back along event time the window functions of a node look.
type Lookback struct {
	Rows  int64 // below zero: at every row before
	Range int64 // microseconds
}

// AtWatermark marks the window functions whose value for a row is known for good
// once the watermark has passed the row's time, so that they can wait for it: then
// their result only grows.
func AtWatermark(n logical.Node) logical.Node {
	return logical.Transform(n, func(n logical.Node) logical.Node {
		a, ok := n.(*logical.Analytic)
		if !ok || !appends(a.Input) {
			return n
		}
		if _, ok := LooksBack(a); !ok {
			return n
		}
		c := *a
		c.AtWatermark = true
		return &c
	})
}

// appends says whether rows are never taken back where results wait for the
// watermark.
func appends(n logical.Node) bool {
	switch n := n.(type) {
	case *logical.Analytic:
		return n.AtWatermark
	case *logical.Aggregate:
		end, _ := EndKey(n)
		return end >= 0
	case *logical.Filter, *logical.Project, *logical.Watermark, *logical.Generate:
		return appends(n.Inputs()[0])
	case *logical.Union:
		for _, in := range n.In {
			if !appends(in) {
				return false
			}
		}
		return true
	default:
		return grows(n)
	}
}

// LooksBack says how far back window functions look that follow event time and
// see nothing behind a row but the rows of its own time.
func LooksBack(n *logical.Analytic) (Lookback, bool) {
	var back Lookback
	if len(n.Order) == 0 || n.Order[0].Desc || !n.Order[0].NullsFirst {
		return back, false
	}
	if t, ok := TimeOf(n.Order[0].Expr, n.Input); !ok || t.Shift < 0 {
		return back, false
	}
	for _, c := range n.Calls {
		rows, span, ok := callLooksBack(c)
		if !ok {
			return back, false
		}
		back.Range = max(back.Range, span)
		if rows < 0 || back.Rows < 0 {
			back.Rows = -1
		} else {
			back.Rows = max(back.Rows, rows)
		}
	}
	return back, true
}

func callLooksBack(c *expr.AnalyticCall) (rows, span int64, ok bool) {
	switch c.Kind {
	case expr.RowNumber, expr.Rank, expr.DenseRank:
		return -1, 0, true
	case expr.Lag:
		if c.IgnoreNulls {
			return -1, 0, c.N >= 0
		}
		return c.N, 0, c.N >= 0
	case expr.WindowAggregate, expr.NthValue:
		return frameLooksBack(c.Frame)
	case expr.PercentRank, expr.CumeDist, expr.Ntile:
		return 0, 0, false // the last row of the partition counts
	}
	return 0, 0, false
}

func frameLooksBack(f expr.Frame) (rows, span int64, ok bool) {
	if f.End.Kind == expr.Following || f.End.Kind == expr.UnboundedFollowing {
		return 0, 0, false
	}
	switch f.Start.Kind {
	case expr.CurrentRow:
		return 0, 0, true
	case expr.Preceding:
		if f.Unit == expr.FrameRows && f.Start.Value == nil {
			return f.Start.Offset, 0, true
		}
		if span, ok := spanBefore(f.Start.Value); ok && f.Unit == expr.FrameRange {
			return 0, span, true
		}
		return -1, 0, true
	case expr.UnboundedPreceding:
		return -1, 0, true
	case expr.Following, expr.UnboundedFollowing:
	}
	return 0, 0, false
}

// spanBefore reads the length of time that a bound of a range lies before its key.
func spanBefore(e expr.Expr) (int64, bool) {
	c, ok := e.(*expr.Call)
	if !ok || len(c.Args) != 2 {
		return 0, false
	}
	switch c.Func.Name {
	case "-", "try_subtract":
	default:
		return 0, false
	}
	l, ok := c.Args[1].(*expr.Literal)
	if !ok {
		return 0, false
	}
	v, ok := l.Value.(int64)
	return v, ok && v >= 0 && l.DT.ID() == arrow.DURATION
}
