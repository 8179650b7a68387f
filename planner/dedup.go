package planner

import (
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/incremental"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// dedup passes the first row with each key. A stream that only grows remembers
// the keys, not the rows, and forgets a key with the window or time in it, or
// after the watermark's delay.
func (b *builder) dedup(n *logical.Dedup) (*fragment, error) {
	all, _ := allColumns(n.Schema())
	keys := pick(all, n.Keys)
	if !b.opts.Stream || !logical.Streaming(n) {
		return b.limitBy(&logical.LimitBy{Input: n.Input, By: keys, Count: 1})
	}
	in, err := b.under(n.Input)
	if err != nil {
		return nil, err
	}
	switch {
	case n.Within && in.changes:
		return nil, refuse(n.String(), "its input takes rows back; drop duplicates before aggregating")
	case n.Within:
		return b.firstWithin(n, in, keys)
	case in.changes:
		return b.recompute(b.operatorName("dedup", n), [][]expr.Expr{keys}, func(tables []physical.Node) physical.Node {
			return &physical.LimitBy{Input: tables[0], By: keys, Count: 1}
		}, in), nil
	}
	return b.firstRows(n, in), nil
}

// firstRows passes the first row with each key of an input that only grows.
func (b *builder) firstRows(n *logical.Dedup, in *fragment) *fragment {
	all, _ := allColumns(n.Schema())
	keys, times := pick(all, n.Keys), incremental.EventTimes(n.Input)
	name := b.operatorName("dedup", n)
	end, shift := -1, int64(0)
	for i, k := range n.Keys {
		t, ok := times[k]
		if !ok || b.mode == "complete" || end >= 0 && t.Shift >= shift {
			continue
		}
		end, shift = i, t.Shift
	}
	verdict := incremental.Verdict{Operator: name, Bound: incremental.ByKeys, Advice: "add the column with a WATERMARK to its keys, or keep keys 'within watermark', to bound it by time"}
	if end >= 0 {
		verdict = incremental.Verdict{Operator: name, Bound: incremental.ByWatermark}
		if !times[n.Keys[end]].OnTime {
			in = in.wrap(&physical.LateFilter{Input: in.root, End: keys[end], Shift: shift, Operator: name})
		}
	}
	b.query.Verdicts = append(b.query.Verdicts, verdict)
	f := b.partitioned(in, keys, false)
	fields := append(slices.Clone(n.Schema().Fields()), arrow.Field{Name: "first0", Type: arrow.FixedWidthTypes.Boolean})
	m := &physical.MarkFirst{
		Input: f.root, Keys: keys, Marks: []physical.Mark{{}}, EndKey: end, EndShift: shift, Operator: name,
		Out: arrow.NewSchema(fields, nil),
	}
	first := &expr.Column{Index: len(fields) - 1, Name: "first0", DT: arrow.FixedWidthTypes.Boolean}
	f = f.wrap(&physical.Project{Input: &physical.Filter{Input: m, Cond: first}, Exprs: all, Out: n.Schema()})
	f.state = append(slices.Clone(f.state), name)
	return f
}

// firstWithin remembers a key from the time of its first row for the delay of the
// watermark.
func (b *builder) firstWithin(n *logical.Dedup, in *fragment, keys []expr.Expr) (*fragment, error) {
	times := incremental.EventTimes(n.Input)
	var mark *logical.Watermark
	logical.Walk(n.Input, func(x logical.Node) bool {
		if w, ok := x.(*logical.Watermark); ok && (mark == nil || w.Delay > mark.Delay) {
			mark = w
		}
		return true
	})
	col := -1
	for i := range n.Schema().NumFields() {
		if t, ok := times[i]; ok && (col < 0 || t.Shift < times[col].Shift) {
			col = i
		}
	}
	if mark == nil || col < 0 {
		return nil, refuse(n.String(), "there is no WATERMARK on a column of its input")
	}
	name := b.operatorName("dedup", n)
	all, _ := allColumns(n.Schema())
	if t := times[col]; !t.OnTime {
		in = in.wrap(&physical.LateFilter{Input: in.root, End: all[col], Shift: t.Shift, Operator: name})
	}
	b.query.Verdicts = append(b.query.Verdicts, incremental.Verdict{Operator: name, Bound: incremental.ByWatermark})
	f := b.partitioned(in, keys, false)
	f = f.wrap(&physical.FirstWithin{
		Input: f.root, Keys: keys, Time: all[col], Delay: times[col].Shift + mark.Delay.Microseconds(), Operator: name,
	})
	f.state = append(slices.Clone(f.state), name)
	return f, nil
}
