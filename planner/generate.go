package planner

import (
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// generate works row by row and so runs where its input is.
func (b *builder) generate(n *logical.Generate) (*fragment, error) {
	in, err := b.build(n.Input)
	if err != nil {
		return nil, err
	}
	g := &physical.Generate{Input: in.root, Args: n.Args, Inline: n.Inline, Pos: n.Pos, Outer: n.Outer, Keep: n.Keep, Out: n.Schema()}
	if !in.changes {
		return in.wrap(g), nil
	}
	g.Input = asChangelog(in.root)
	schema := in.root.Schema()
	if g.Keep == nil {
		g.Keep = positions(schema.NumFields() - 1)
	}
	g.Keep = append(slices.Clone(g.Keep), schema.NumFields()-1)
	fields := make([]arrow.Field, 0, len(g.Keep)+len(n.Out))
	for _, k := range g.Keep {
		fields = append(fields, schema.Field(k))
	}
	g.Out = arrow.NewSchema(append(fields, n.Out...), nil)
	return b.opLast(in, g), nil
}

// limitBy brings the rows of a key together, orders them and counts.
func (b *builder) limitBy(n *logical.LimitBy) (*fragment, error) {
	in, err := b.ordered(n.Input)
	if err != nil {
		return nil, err
	}
	if b.stateful(in) {
		name, by := b.operatorName("limit", n), [][]expr.Expr{n.By}
		c := closingBy([]logical.Node{n.Input}, by)
		f := b.recompute(name, by, func(tables []physical.Node) physical.Node {
			root := tables[0]
			if len(n.Keys) > 0 {
				root = &physical.Sort{Input: root, Keys: n.Keys}
			}
			return &physical.LimitBy{Input: root, By: n.By, Count: n.Count, Offset: n.Offset}
		}, c.onTime(name, by, in)...)
		return b.closeGroups(b.pruned(f, in, n.Offset == 0 && len(n.Keys) > 0), c, b.mode == "append"), nil
	}
	in = b.gather(in, n.By)
	if len(n.Keys) > 0 {
		in = in.wrap(&physical.Sort{Input: in.root, Keys: n.Keys})
	}
	return in.wrap(&physical.LimitBy{Input: in.root, By: n.By, Count: n.Count, Offset: n.Offset}), nil
}

func rangeFragment(n *logical.Range) *fragment {
	return &fragment{
		root: &physical.Range{Start: n.Start, End: n.End, Step: n.Step, Out: n.Schema()}, kind: physical.Single, static: true,
	}
}

// rangeBytes is the size of the numbers, of which there may be more than fit
// into the type.
func rangeBytes(n *logical.Range) int64 {
	rows := (float64(n.End) - float64(n.Start)) / float64(n.Step)
	return int64(min(max(rows, 0), 1<<40))*8 + 1
}
