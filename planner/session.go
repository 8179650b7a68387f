package planner

import (
	"slices"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/incremental"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// session plans session windows. A batch sorts each partition by time and cuts it
// at the gaps. A stream under a watermark keeps the rows of the open sessions;
// without one, over rows that are taken back, or where the whole result must stay,
// the partitions that a batch touches are cut anew.
func (b *builder) session(n *logical.Window) (*fragment, error) {
	in, err := b.under(n.Input)
	if err != nil {
		return nil, err
	}
	keys := make([]expr.SortKey, 0, len(n.Partition)+1)
	for _, p := range n.Partition {
		keys = append(keys, expr.SortKey{Expr: p, NullsFirst: true})
	}
	keys = append(keys, expr.SortKey{Expr: n.Time, NullsFirst: true})
	cut := func(in physical.Node) physical.Node {
		return &physical.Sessions{
			Input: &physical.Sort{Input: in, Keys: keys}, Partition: n.Partition, Time: n.Time, End: n.End, Out: n.Schema(),
		}
	}
	if !b.stateful(in) {
		in = b.gather(in, n.Partition)
		return in.wrap(cut(in.root)), nil
	}
	// Rows that come later than their time tells, as a join may keep them, would come
	// behind the end of their session.
	if t, timed := incremental.EndOf(n.Time, n.Input); timed && t.Shift <= 1 && !in.changes && b.mode != "complete" {
		return b.openSessions(n, in, t), nil
	}
	f := b.recompute(b.operatorName("session", n), [][]expr.Expr{n.Partition}, func(tables []physical.Node) physical.Node {
		return cut(tables[0])
	}, in)
	v := &b.query.Verdicts[len(b.query.Verdicts)-1]
	v.Advice = "every row of its input is kept: declare a WATERMARK for the time of its sessions"
	return f, nil
}

func (b *builder) openSessions(n *logical.Window, in *fragment, t incremental.Time) *fragment {
	name := b.operatorName("session", n)
	if !t.OnTime {
		in = in.wrap(&physical.LateFilter{Input: in.root, End: n.End, Operator: name})
	}
	f := b.partitioned(in, n.Partition, false)
	o := &physical.OpenSessions{
		Input: f.root, Partition: n.Partition, Time: n.Time, End: n.End, Operator: name,
		Final: b.mode == "append", Clock: t.Clock, Out: n.Schema(),
	}
	if !o.Final {
		o.Out = withOp(o.Out)
	}
	b.query.Verdicts = append(b.query.Verdicts, incremental.Verdict{Operator: name, Bound: t.Bound()})
	f = f.wrap(o)
	f.state, f.changes = append(slices.Clone(f.state), name), !o.Final
	return f
}
