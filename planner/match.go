package planner

import (
	"fmt"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/incremental"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// match plans MATCH_RECOGNIZE: over bounded rows by partition and in order; over a
// stream in append mode by event time, so that a match that comes out is final;
// in other modes by working out again the partitions that a batch touches.
func (b *builder) match(n *logical.Match) (*fragment, error) {
	in, err := b.ordered(n.Input)
	if err != nil {
		return nil, err
	}
	if b.stateful(in) {
		return b.matchStream(n, in)
	}
	in = b.gather(in, n.Partition)
	return in.wrap(matchNode(n, in.root)), nil
}

// matchNode sorts rows and finds the matches in them.
func matchNode(n *logical.Match, in physical.Node) *physical.Match {
	keys := make([]expr.SortKey, 0, len(n.Partition)+len(n.Order))
	for _, p := range n.Partition {
		keys = append(keys, expr.SortKey{Expr: p, NullsFirst: true})
	}
	keys = append(keys, n.Order...)
	return &physical.Match{Input: &physical.Sort{Input: in, Keys: keys}, Partition: n.Partition, Order: n.Order, Spec: n.Spec, Out: n.Schema()}
}

func (b *builder) matchStream(n *logical.Match, in *fragment) (*fragment, error) {
	name, parts := b.operatorName("match", n), [][]expr.Expr{n.Partition}
	c := closingBy([]logical.Node{n.Input}, parts)
	if b.mode == "append" && c.key < 0 {
		return b.matchInTime(n, in, name)
	}
	f := b.recompute(name, parts, func(tables []physical.Node) physical.Node {
		return matchNode(n, tables[0])
	}, c.onTime(name, parts, in)...)
	return b.closeGroups(f, c, b.mode == "append"), nil
}

// matchInTime plans the form that waits for the watermark.
func (b *builder) matchInTime(n *logical.Match, in *fragment, name string) (*fragment, error) {
	const op = "MATCH_RECOGNIZE"
	t, ok := incremental.TimeOf(n.Order[0].Expr, n.Input)
	switch {
	case in.changes:
		return nil, refuse(op, "its input takes rows back, so that a match that has come out could change; use OUTPUT MODE update, complete or changelog")
	case !ok || n.Order[0].Desc:
		return nil, refuse(op, fmt.Sprintf("in output mode append rows must be ordered by event time first, and %s is no column with a WATERMARK in ascending order; "+
			"order by one, or use OUTPUT MODE update, complete or changelog%s", expr.SortKeys(n.Order[:1]), timeLost(n)))
	case n.Spec.Pattern.Ends():
		return nil, refuse(op, "the pattern asks with $ where a partition ends, which a stream does not say; use OUTPUT MODE update, complete or changelog")
	}
	if !t.OnTime {
		in = in.wrap(&physical.LateFilter{Input: in.root, End: n.Order[0].Expr, Shift: t.Shift, Operator: name})
	}
	f := b.partitioned(in, n.Partition, false)
	root := &physical.StatefulMatch{
		Match: physical.Match{Input: f.root, Partition: n.Partition, Order: n.Order, Spec: n.Spec, Out: n.Schema()}, Shift: t.Shift, Operator: name,
	}
	out := f.wrap(root)
	out.changes = false
	out.state = append(out.state, name)
	b.query.Verdicts = append(b.query.Verdicts, matchVerdict(name, n))
	return out, nil
}

// matchVerdict says what bounds the rows that wait for a match to be decided.
func matchVerdict(name string, n *logical.Match) incremental.Verdict {
	rows := n.Spec.Pattern.Bounded()
	switch {
	case rows < 0 && n.Spec.Within == 0:
		return incremental.Verdict{Operator: name, Bound: incremental.Unbounded,
			Advice: "a match may become longer and longer; say how long one may last: PATTERN (..) WITHIN INTERVAL '..' MINUTE"}
	case n.Spec.Within > 0 && !n.Spec.Remembers():
		return incremental.Verdict{Operator: name, Bound: incremental.ByWatermark}
	case n.Spec.Within > 0:
		return incremental.Verdict{Operator: name, Bound: incremental.ByKeys,
			Advice: "MATCH_NUMBER, ^ and PREV need something of each partition for ever"}
	default:
		return incremental.Verdict{Operator: name, Bound: incremental.ByKeys,
			Advice: fmt.Sprintf("at most %d rows of a partition wait for the watermark to decide a match; WITHIN bounds them by time", rows)}
	}
}
