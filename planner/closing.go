package planner

import (
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/incremental"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// closing says by which key the groups of an operator close, as the watermark
// passes it. The zero value, with key -1, is a state that time does not bound.
type closing struct {
	key   int
	times []incremental.Time // of each input
}

// closingBy looks for a key that carries event time in every input, in the same
// way; of several the one that closes first.
func closingBy(ins []logical.Node, keys [][]expr.Expr) closing {
	best := closing{key: -1}
	for k := range keys[0] {
		c := closing{key: k}
		for i, in := range ins {
			t, ok := incremental.EndOf(keys[i][k], in)
			if !ok || i > 0 && (t.Shift != c.times[0].Shift || t.Clock != c.times[0].Clock) {
				c.key = -1
				break
			}
			c.times = append(c.times, t)
		}
		if c.key >= 0 && (best.key < 0 || c.times[0].Before(best.times[0])) {
			best = c
		}
	}
	return best
}

// onTime drops what comes for a group that has closed.
func (c closing) onTime(name string, keys [][]expr.Expr, ins ...*fragment) []*fragment {
	out := make([]*fragment, len(ins))
	for i, f := range ins {
		if out[i] = f; c.key >= 0 && !c.times[i].OnTime && !f.static {
			out[i] = f.wrap(&physical.LateFilter{Input: f.root, End: keys[i][c.key], Shift: c.times[i].Shift, Operator: name})
		}
	}
	return out
}

// closeGroups makes a Recompute forget its groups as they close and, if a group
// must be final to come out, lets it come out only then.
func (b *builder) closeGroups(f *fragment, c closing, final bool) *fragment {
	if c.key < 0 {
		return f
	}
	v := &b.query.Verdicts[len(b.query.Verdicts)-1]
	v.Bound, v.Advice = c.times[0].Bound(), ""
	return b.changeRecompute(f, func(r *physical.Recompute) {
		r.EndKey, r.EndShift, r.Clock = c.key, c.times[0].Shift, c.times[0].Clock
		if final {
			r.Final, r.Prune, r.Out = true, false, r.Body.Schema()
		}
	})
}
