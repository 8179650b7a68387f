package planner

import (
	"slices"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// analytic brings the rows of a partition together and in order. Window
// functions that follow others over the same partitions read what those put
// out, in place of another exchange, and without a sort where their order is
// the start of the one there is. In a stream they take what comes out whole with
// every batch; anything else would have to take back what it put out before.
func (b *builder) analytic(n *logical.Analytic) (*fragment, error) {
	in, err := b.ordered(n.Input)
	if err != nil {
		return nil, err
	}
	return b.analyticOver(n, in)
}

// analyticOver plans window functions over an input that is built.
func (b *builder) analyticOver(n *logical.Analytic, in *fragment) (*fragment, error) {
	keys := make([]expr.SortKey, 0, len(n.Partition)+len(n.Order))
	for _, p := range n.Partition {
		keys = append(keys, expr.SortKey{Expr: p, NullsFirst: true})
	}
	keys = append(keys, n.Order...)
	if b.stateful(in) && n.AtWatermark && !in.changes {
		return b.overTime(n, in, keys, 0)
	}
	if b.stateful(in) {
		name, parts := b.operatorName("window", n), [][]expr.Expr{n.Partition}
		c := closingBy([]logical.Node{n.Input}, parts)
		f := b.recompute(name, parts, func(tables []physical.Node) physical.Node {
			root := tables[0]
			if len(keys) > 0 {
				root = &physical.Sort{Input: root, Keys: keys}
			}
			return &physical.Analytic{Input: root, Partition: n.Partition, Order: n.Order, Calls: n.Calls, Out: n.Schema()}
		}, c.onTime(name, parts, in)...)
		return b.closeGroups(f, c, b.mode == "append"), nil
	}
	before, _ := in.root.(*physical.Analytic)
	if before == nil || !sameExprs(before.Partition, n.Partition) {
		in, before = b.gather(in, n.Partition), nil
	}
	sorted := len(keys) == 0 || before != nil && len(before.Order) >= len(n.Order) &&
		slices.EqualFunc(before.Order[:len(n.Order)], n.Order, sameKey)
	if !sorted {
		in = in.wrap(&physical.Sort{Input: in.root, Keys: keys})
	}
	return in.wrap(&physical.Analytic{Input: in.root, Partition: n.Partition, Order: n.Order, Calls: n.Calls, Out: n.Schema()}), nil
}

func sameExprs(a, b []expr.Expr) bool { return slices.EqualFunc(a, b, expr.Equal) }

func sameKey(a, b expr.SortKey) bool {
	return a.Desc == b.Desc && a.NullsFirst == b.NullsFirst && expr.Equal(a.Expr, b.Expr)
}
