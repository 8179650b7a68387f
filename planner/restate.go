package planner

import (
	"strings"
	"time"

	"github.com/sluice-stream/sluice/planner/physical"
)

// restate lets every operator of a plan take rows that come up to a length of time
// too late, and keep for as long what they belong to. What holds results back until
// the watermark is as it was: they come out on time, and are corrected then.
func (b *builder) restate() error {
	if b.opts.Restate <= 0 {
		return nil
	}
	r := restater{by: b.opts.Restate.Microseconds()}
	for _, s := range b.plan.Stages {
		r.node(s.Root)
	}
	if r.err == nil && !r.some {
		return refuse("LATE RESTATE UNTIL "+b.opts.Restate.Round(time.Microsecond).String(), "nothing in it is closed by a watermark, so that no row is late")
	}
	return r.err
}

// restater changes the nodes of a plan in the making, each of which is in it once.
type restater struct {
	by   int64
	some bool
	err  error
}

func (r *restater) node(n physical.Node) {
	by := func(us *int64) { *us += r.by; r.some = true }
	switch n := n.(type) {
	case *physical.LateFilter:
		if strings.HasPrefix(n.Operator, processName) {
			r.refuse(n.Operator, "what a processor has put out is its own; let it take late rows itself")
		}
		by(&n.Shift)
	case *physical.StatefulAggregate:
		if n.EndKey >= 0 && !n.Clock {
			by(&n.EndShift)
		}
	case *physical.Recompute:
		if n.EndKey >= 0 && !n.Clock {
			by(&n.EndShift)
		}
	case *physical.MarkFirst:
		if n.EndKey >= 0 && !n.Clock {
			by(&n.EndShift)
		}
	case *physical.Tally:
		if n.EndKey >= 0 && !n.Clock {
			by(&n.EndShift)
		}
	case *physical.OpenSessions:
		if !n.Clock {
			by(&n.Shift)
		}
	case *physical.FirstWithin:
		by(&n.Delay)
	case *physical.IntervalJoin: // a side without an end stays for ever
		for i, keep := range n.Keep {
			if keep != nil {
				longer := *keep
				by(&longer)
				n.Keep[i] = &longer
			}
		}
	case *physical.Process:
		for i := range n.Times {
			by(&n.Times[i].Shift)
		}
	case *physical.OverTime, *physical.Versions:
		r.refuse(n.String(), "a row comes out once, when the watermark has passed it")
	case *physical.StatefulMatch:
		r.refuse(n.String(), "a match that has come out is not taken back")
	case *physical.PartialSessions, *physical.SessionAggregate:
		r.refuse(n.String(), "a session that has come out is gone")
	case *physical.Scan, *physical.Values, *physical.Range, *physical.ExchangeRead, *physical.WorkTable, // they judge nothing by the watermark
		*physical.Filter, *physical.Project, *physical.Union, *physical.Generate, *physical.Window, *physical.Watermark,
		*physical.PartialAggregate, *physical.FinalAggregate, *physical.CompleteAggregate, *physical.HashJoin, *physical.Analytic, *physical.Match,
		*physical.Sort, *physical.TopN, *physical.Limit, *physical.LimitBy, *physical.Sessions, *physical.Recursive,
		*physical.Rank, *physical.Fold, *physical.LookupJoin, *physical.Latest, *physical.Consolidate,
		*physical.Emit: // it holds results back until they are on time, and what corrects them goes through
	default:
		r.refuse(n.String(), "nothing says what it makes of late rows")
	}
	for _, in := range n.Inputs() {
		r.node(in)
	}
}

func (r *restater) refuse(what, why string) {
	if r.err == nil {
		r.err = refuse("LATE RESTATE over "+what, why)
	}
}
