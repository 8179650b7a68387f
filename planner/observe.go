package planner

import (
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// observe puts the operator where the rows pass.
func (b *builder) observe(n *logical.Observe) (*fragment, error) {
	if !mergeable(n.Aggs) {
		return nil, refuse(n.String(), "aggregates of different values, or in an order, cannot be computed where the rows pass")
	}
	f, err := b.build(n.Input)
	if err != nil {
		return nil, err
	}
	b.observed++
	return f.wrap(&physical.Observe{Input: f.root, Name: n.Name, At: b.observed, Aggs: n.Aggs, Exprs: n.Exprs, Names: n.Names, Observer: n.Observer}), nil
}
