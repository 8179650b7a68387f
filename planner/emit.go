package planner

import (
	"slices"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/incremental"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// holding says how an output holds back results that may still change.
type holding struct {
	final       bool // until the watermark closes them; what comes late corrects them
	every, rows int64
	done        bool // an operator for it is in the plan
}

func (h *holding) some() bool { return !h.done && (h.final || h.every > 0 || h.rows > 0) }

// holdingOf reads what a sink asks for. An output that is final and not restated needs
// no operator: it is planned as in append mode.
func (b *builder) holdingOf(sink *physical.Sink) (holding, error) {
	if sink == nil || !b.opts.Stream {
		return holding{}, nil
	}
	h := holding{final: sink.Final && b.opts.Restate > 0, every: sink.Every, rows: sink.Rows}
	switch {
	case sink.Mode == "append" && b.opts.Restate > 0:
		return h, batch.UserErrorf("LATE RESTATE corrects results that have gone out, which output mode append cannot: it puts a row out once, for good; use OUTPUT MODE update or changelog")
	case sink.Mode == "append" && h.some():
		return h, batch.UserErrorf("EMIT EVERY and EMIT AFTER n ROWS put out results that may still change, which output mode append cannot; use OUTPUT MODE update or changelog")
	case sink.Mode == "complete" && h.some():
		return h, batch.UserErrorf("EMIT holds changes back, and output mode complete puts out the whole result with every batch; use OUTPUT MODE update or changelog")
	}
	return h, nil
}

// heldAggregate plans the aggregate of an output that holds its results back, with the
// number of the rows of each group where they decide.
func (b *builder) heldAggregate(n *logical.Aggregate, in *fragment) (*fragment, error) {
	h := b.hold
	b.hold.done = true
	end, t := incremental.EndKey(n)
	if h.final && (end < 0 || t.Clock) {
		return nil, refuseAppend(n)
	}
	counted, count := n, -1
	if h.rows > 0 {
		c := *n
		rows := *b.opts.CountRows
		rows.Name = "__rows"
		c.Aggs = append(slices.Clone(n.Aggs), &rows)
		counted, count = &c, len(n.Keys)+len(n.Aggs)
	}
	f, err := b.statefulAggregate(counted, in)
	if err != nil || !f.changes {
		return f, err
	}
	f = b.heldBack(n, f, h, positions(len(n.Keys)), end, t, count)
	if count < 0 {
		return f, nil
	}
	es, _ := allColumns(n.Schema())
	op := f.root.Schema().NumFields() - 1
	es = append(es, &expr.Column{Index: op, Name: batch.OpColumn, DT: f.root.Schema().Field(op).Type})
	return f.wrap(&physical.Project{Input: f.root, Exprs: es, Out: withOp(n.Schema())}), nil
}

// heldResult holds back the result of an output that no aggregate makes: by its key,
// or row by row where nothing tells its rows apart.
func (b *builder) heldResult(n logical.Node, f *fragment) (*fragment, error) {
	h := b.hold
	if h.rows > 0 {
		return nil, batch.UserErrorf("EMIT AFTER n ROWS counts the rows of a group, and %q has none: group by something, or use EMIT EVERY", n.String())
	}
	keys, ok := incremental.Key(n)
	if !ok {
		keys = positions(n.Schema().NumFields())
	}
	times := incremental.EventTimes(n)
	end, first := -1, incremental.Time{}
	for _, k := range keys {
		if t, timed := times[k]; timed && (end < 0 || t.Before(first)) {
			end, first = k, t
		}
	}
	if h.final && end < 0 {
		return nil, refuseAppend(n)
	}
	es, _ := allColumns(n.Schema())
	f = f.wrap(asChangelog(f.root))
	return b.heldBack(n, b.partitioned(f, pick(es, keys), false), h, keys, end, first, -1), nil
}

// heldBack puts the operator on a fragment whose rows are spread by the keys.
func (b *builder) heldBack(n logical.Node, f *fragment, h holding, keys []int, end int, t incremental.Time, count int) *fragment {
	e := &physical.Emit{
		Input: asChangelog(f.root), Keys: keys, EndKey: end, EndShift: t.Shift, Clock: t.Clock, Every: h.every, Rows: h.rows, Count: count,
		Operator: b.operatorName("emit", n),
	}
	v := incremental.Verdict{Operator: e.Operator, Bound: t.Bound()}
	if end < 0 {
		v = incremental.Verdict{Operator: e.Operator, Bound: incremental.ByKeys, Advice: "the changes of a key are kept until they come out"}
	}
	b.query.Verdicts = append(b.query.Verdicts, v)
	f = f.wrap(e)
	f.state = append(slices.Clone(f.state), e.Operator)
	return f
}
