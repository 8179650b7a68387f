package planner

import (
	"slices"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// recursionMax is how many rounds a recursive query runs if no setting says so.
const recursionMax = 10_000

// recursive puts the seed and the step into one task: what a round gives is the
// next one's input, so that nothing between the two may go through an exchange.
func (b *builder) recursive(n *logical.Recursive) (*fragment, error) {
	if b.opts.Stream && logical.Streaming(n) {
		return b.streamRecursive(n)
	}
	seed, err := b.build(n.Seed)
	if err != nil {
		return nil, err
	}
	step, err := b.build(n.Step)
	if err != nil {
		return nil, err
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

// streamRecursive follows the rows from the seed on again with every batch that
// changes what it reads: the streams in it are cut off and kept.
func (b *builder) streamRecursive(n *logical.Recursive) (*fragment, error) {
	var leaves []logical.Node
	cut := n.WithInputs([]logical.Node{cutStreams(n.Seed, &leaves), cutStreams(n.Step, &leaves)})
	ins, keys := make([]*fragment, len(leaves)), make([][]expr.Expr, len(leaves))
	for i, leaf := range leaves {
		var err error
		if ins[i], err = b.under(leaf); err != nil {
			return nil, err
		}
	}
	body, err := b.build(logical.Transform(cut, func(x logical.Node) logical.Node {
		if w, ok := x.(*logical.WorkTable); ok && w.ID < 0 {
			return &logical.WorkTable{ID: workTables + b.tables - w.ID - 1, Name: w.Name, Out: w.Out}
		}
		return x
	}))
	if err != nil {
		return nil, err
	}
	f := b.recompute(b.operatorName("recursive", n), keys, func([]physical.Node) physical.Node { return body.root }, ins...)
	f.inputs, f.sources = append(f.inputs, body.inputs...), append(f.sources, body.sources...)
	return f, nil
}

// cutStreams replaces the parts of a recursive query that read streams and not
// its rounds by work tables, numbered -1, -2, ... in the order of leaves.
func cutStreams(n logical.Node, leaves *[]logical.Node) logical.Node {
	if !logical.Streaming(n) {
		return n
	}
	rounds := false
	logical.Walk(n, func(x logical.Node) bool {
		_, is := x.(*logical.WorkTable)
		rounds = rounds || is
		return !rounds
	})
	if !rounds {
		*leaves = append(*leaves, n)
		return &logical.WorkTable{ID: -len(*leaves), Name: "stream", Out: n.Schema()}
	}
	in := slices.Clone(n.Inputs())
	for i, c := range in {
		in[i] = cutStreams(c, leaves)
	}
	return n.WithInputs(in)
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
