package planner

import (
	"slices"

	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// recursionMax is how many rounds a recursive query runs if no setting says so.
const recursionMax = 10_000

// recursive puts the seed and the step into one task: what a round gives is the
// next one's input, so that nothing between the two may go through an exchange.
func (b *builder) recursive(n *logical.Recursive) (*fragment, error) {
	seed, err := b.build(n.Seed)
	if err != nil {
		return nil, err
	}
	step, err := b.build(n.Step)
	if err != nil {
		return nil, err
	}
	if b.opts.Stream && (!seed.static || !step.static) {
		return nil, refuse("WITH RECURSIVE", "it reads a stream, whose rows would have to be followed again with every batch; read a table instead")
	}
	seed, step = b.single(seed), b.single(step)
	limit := b.opts.RecursionMax
	if n.Max > 0 {
		limit = n.Max
	}
	if limit <= 0 {
		limit = recursionMax
	}
	return sideBySide(&physical.Recursive{Seed: seed.root, Step: step.root, ID: n.ID, All: n.All, Max: limit, Out: n.Schema()}, seed, step), nil
}

// sideBySide is a fragment of one task that reads two others.
func sideBySide(root physical.Node, l, r *fragment) *fragment {
	return &fragment{
		root: root, kind: physical.Single, static: l.static && r.static, local: l.local || r.local,
		inputs:  append(slices.Clone(l.inputs), r.inputs...),
		sources: append(slices.Clone(l.sources), r.sources...),
		state:   append(slices.Clone(l.state), r.state...),
	}
}

// localJoin joins within the task of a recursive query.
func (b *builder) localJoin(j *physical.HashJoin, l, r *fragment) *fragment {
	l, r = b.single(l), b.single(r)
	j.Left, j.Right = l.root, r.root
	j.BuildLeft = j.Kind == logical.RightOuter
	return sideBySide(j, l, r)
}

func workTable(n *logical.WorkTable) *fragment {
	return &fragment{root: &physical.WorkTable{ID: n.ID, Out: n.Out}, kind: physical.Single, static: true, local: true}
}
