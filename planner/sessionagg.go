package planner

import (
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/incremental"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// sessionAggregate plans an aggregate of whole sessions that come out as they
// close: partial results of the open ones are kept, where otherwise all their rows
// are. It returns nil if that is not what the aggregate is.
func (b *builder) sessionAggregate(n *logical.Aggregate) (*fragment, error) {
	w, ok := n.Input.(*logical.Window)
	if !ok || w.Kind != logical.Session || !b.opts.Stream || b.mode != "append" || !logical.Streaming(w) || !mergeable(n.Aggs) {
		return nil, nil
	}
	if b.opts.Restate > 0 || b.above == 0 && b.hold.some() {
		return nil, nil // what has come out is corrected, or comes out otherwise
	}
	out, ok := sessionColumns(n, w)
	if !ok {
		return nil, nil
	}
	t, timed := incremental.TimeOf(w.Time, w.Input)
	if !timed || t.Shift > 1 { // rows that come later than their time tells would come behind their session's end
		return nil, nil
	}
	in, err := b.under(w.Input)
	if err != nil {
		return nil, err
	}
	if in.static || in.changes {
		return nil, nil
	}
	name := b.operatorName("sessions", n)
	if !t.OnTime {
		in = in.wrap(&physical.LateFilter{Input: in.root, End: w.End, Operator: name})
	}
	names := make([]string, len(w.Partition))
	var fields []arrow.Field
	for i, p := range w.Partition {
		names[i] = fmt.Sprintf("k%d", i)
		fields = append(fields, arrow.Field{Name: names[i], Type: p.Type(), Nullable: p.Nullable()})
	}
	for _, x := range []string{"start", "end"} {
		fields = append(fields, arrow.Field{Name: x, Type: w.Time.Type()})
	}
	for _, a := range n.Aggs {
		for i, t := range a.Func.State {
			fields = append(fields, arrow.Field{Name: fmt.Sprintf("%s.%d", a.Name, i), Type: t, Nullable: true})
		}
	}
	partial := &physical.PartialSessions{
		Input: in.root, Partition: w.Partition, Time: w.Time, End: w.End, Aggs: n.Aggs, Out: arrow.NewSchema(fields, nil),
	}
	f := b.partitioned(in.wrap(partial), columns(w.Partition, names), false)
	f = f.wrap(&physical.SessionAggregate{
		Input: f.root, NKeys: len(w.Partition), Aggs: n.Aggs, Columns: out, Operator: name, Out: n.Schema(),
	})
	f.state = append(slices.Clone(f.state), name)
	b.query.Verdicts = append(b.query.Verdicts, incremental.Verdict{Operator: name, Bound: incremental.ByWatermark})
	return f, nil
}

// sessionColumns says what the keys of an aggregate over sessions are, if its
// groups are the sessions: the whole partition and the session's end.
func sessionColumns(n *logical.Aggregate, w *logical.Window) ([]int, bool) {
	width := w.Input.Schema().NumFields()
	out := make([]int, len(n.Keys))
	seen := map[int]bool{}
	for i, k := range n.Keys {
		c, ok := k.(*expr.Column)
		switch {
		case !ok:
			return nil, false
		case c.Index == width || c.Index == width+1:
			out[i] = len(w.Partition) + c.Index - width
		default:
			out[i] = slices.IndexFunc(w.Partition, func(p expr.Expr) bool { return expr.Equal(p, k) })
		}
		if out[i] < 0 {
			return nil, false
		}
		seen[out[i]] = true
	}
	for i := range w.Partition {
		if !seen[i] {
			return nil, false
		}
	}
	if len(w.Partition) == 0 || !seen[len(w.Partition)+1] {
		return nil, false
	}
	for _, a := range n.Aggs {
		used := map[int]bool{}
		for _, e := range append(slices.Clone(a.Args), a.Filter) {
			if e != nil {
				expr.Columns(e, used)
			}
		}
		for c := range used {
			if c >= width {
				return nil, false
			}
		}
	}
	return out, true
}
