package planner

import (
	"math"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// sort gathers everything; a limit above it is planned by limit. What comes out
// of a stream is in order within each batch; to an operator above it the order of
// changes means nothing.
func (b *builder) sort(n *logical.Sort) (*fragment, error) {
	in, err := b.ordered(n.Input)
	if err != nil || b.above > 0 && b.stateful(in) {
		return in, err
	}
	in = b.single(in)
	return in.wrap(&physical.Sort{Input: in.root, Keys: n.Keys}), nil
}

// topMax is how many rows a TopN keeps in memory; a longer prefix is sorted, which spills.
const topMax = 1 << 16

func (b *builder) limit(n *logical.Limit) (*fragment, error) {
	if s, ok := n.Input.(*logical.Sort); ok && n.Count >= 0 && reach(n) <= topMax {
		return b.topN(n, s.Input, s.Keys)
	}
	in, err := b.ordered(n.Input)
	if err != nil {
		return nil, err
	}
	if b.stateful(in) {
		f := b.recompute(b.operatorName("limit", n), [][]expr.Expr{nil}, func(tables []physical.Node) physical.Node {
			return &physical.Limit{Input: tables[0], Count: n.Count, Offset: n.Offset}
		}, in)
		return f, nil
	}
	if in.kind != physical.Single {
		if n.Count >= 0 {
			in = in.wrap(&physical.Limit{Input: in.root, Count: reach(n)})
		}
		in = b.single(in)
	}
	return in.wrap(&physical.Limit{Input: in.root, Count: n.Count, Offset: n.Offset}), nil
}

func (b *builder) topN(n *logical.Limit, input logical.Node, keys []expr.SortKey) (*fragment, error) {
	in, err := b.ordered(input)
	if err != nil {
		return nil, err
	}
	if b.stateful(in) {
		f := b.recompute(b.operatorName("top", n), [][]expr.Expr{nil}, func(tables []physical.Node) physical.Node {
			return &physical.TopN{Input: tables[0], Keys: keys, Count: n.Count, Offset: n.Offset}
		}, in)
		return b.pruned(f, in, n.Offset == 0), nil
	}
	if in.kind != physical.Single {
		in = b.single(in.wrap(&physical.TopN{Input: in.root, Keys: keys, Count: reach(n)}))
	}
	return in.wrap(&physical.TopN{Input: in.root, Keys: keys, Count: n.Count, Offset: n.Offset}), nil
}

// reach is how many rows of its input a limit has to see.
func reach(n *logical.Limit) int64 {
	if n.Count > math.MaxInt64-n.Offset {
		return math.MaxInt64
	}
	return n.Count + n.Offset
}

// ordered builds the input of an operator that needs all rows of a result, or of
// a part of it, at once: nearest to the output in complete mode that is the
// whole result, else what changed since.
func (b *builder) ordered(n logical.Node) (*fragment, error) {
	if b.mode != "complete" || b.above > 0 {
		return b.under(n)
	}
	in, err := b.build(n)
	if err != nil {
		return nil, err
	}
	return b.wholeOf(n, in), nil
}
