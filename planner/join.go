package planner

import (
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

func (b *builder) join(n *logical.Join) (*fragment, error) {
	l, err := b.build(n.Left)
	if err != nil {
		return nil, err
	}
	r, err := b.build(n.Right)
	if err != nil {
		return nil, err
	}
	if l.changes || r.changes {
		return nil, refuse(n.String(), "an updating result cannot be joined; give its aggregation a window with a WATERMARK")
	}
	j := &physical.HashJoin{
		Kind: n.Kind, LeftKeys: n.LeftKeys, RightKeys: n.RightKeys, NullSafe: n.NullSafe,
		Residual: n.Residual, Out: n.Schema(),
	}
	if b.opts.Stream && l.static != r.static {
		return b.staticJoin(n, j, l, r)
	}
	if b.opts.Stream && !l.static {
		return nil, refuse(n.String(), "both sides are streams; read one of them as a table (a single file, or a static source)")
	}
	return b.batchJoin(n, j, l, r), nil
}

// staticJoin sends the static side to every task of the stream's stage. Kinds
// that put out unmatched rows of the static side would have to wait for ever.
func (b *builder) staticJoin(n *logical.Join, j *physical.HashJoin, l, r *fragment) (*fragment, error) {
	j.BuildLeft = l.static
	switch n.Kind {
	case logical.Inner, logical.Cross:
	case logical.LeftOuter, logical.LeftSemi, logical.LeftAnti:
		if l.static {
			return nil, refuse(n.String(), "a row of the table on the left is unmatched only when the stream on the right has ended")
		}
	case logical.RightOuter:
		if r.static {
			return nil, refuse(n.String(), "a row of the table on the right is unmatched only when the stream on the left has ended")
		}
	case logical.FullOuter:
		return nil, refuse(n.String(), "a row of the table is unmatched only when the stream has ended")
	}
	return b.broadcastJoin(j, l, r), nil
}

// broadcastJoin sends the build side to all tasks of the probe side.
func (b *builder) broadcastJoin(j *physical.HashJoin, l, r *fragment) *fragment {
	build, probe := r, l
	if j.BuildLeft {
		build, probe = l, r
	}
	id := b.close(build, physical.ToAll{})
	read := &physical.ExchangeRead{Stage: id, Out: build.root.Schema()}
	j.Left, j.Right = l.root, read
	if j.BuildLeft {
		j.Left, j.Right = read, r.root
	}
	f := probe.wrap(j)
	f.inputs = append(slices.Clone(probe.inputs), id)
	return f
}

// batchJoin broadcasts a small side, else spreads both by key.
func (b *builder) batchJoin(n *logical.Join, j *physical.HashJoin, l, r *fragment) *fragment {
	if l.local || r.local {
		return b.localJoin(j, l, r)
	}
	small := func(c logical.Node) bool { s := b.bytes(c); return s > 0 && s <= broadcastMax }
	leftKeepsRight := n.Kind == logical.Inner || n.Kind == logical.Cross || n.Kind == logical.RightOuter
	rightOK := n.Kind != logical.RightOuter && n.Kind != logical.FullOuter
	switch {
	case rightOK && small(n.Right) && (!leftKeepsRight || b.bytes(n.Right) <= b.bytes(n.Left) || !small(n.Left)):
		return b.broadcastJoin(j, l, r)
	case leftKeepsRight && small(n.Left):
		j.BuildLeft = true
		return b.broadcastJoin(j, l, r)
	}
	if len(n.LeftKeys) == 0 {
		if rightOK {
			return b.broadcastJoin(j, l, r)
		}
		l, r = b.single(l), b.single(r)
	} else {
		l, r = b.exchange(l, physical.ToHash{Keys: n.LeftKeys}), b.exchange(r, physical.ToHash{Keys: n.RightKeys})
	}
	j.Left, j.Right = l.root, r.root
	j.BuildLeft = n.Kind == logical.RightOuter || n.Kind == logical.Inner && b.bytes(n.Left) > 0 && b.bytes(n.Left) < b.bytes(n.Right)
	return &fragment{
		root: j, kind: l.kind, inputs: append(slices.Clone(l.inputs), r.inputs...),
		static: l.static && r.static, state: append(slices.Clone(l.state), r.state...),
		sources: append(slices.Clone(l.sources), r.sources...),
	}
}

// keepOnly puts a projection on top of a join, which drops the columns that the
// projection does not read. Of a projection that computes nothing, nothing is left.
func keepOnly(j *physical.HashJoin, es []expr.Expr, out *arrow.Schema) physical.Node {
	plain := true
	used := map[int]bool{}
	for i, e := range es {
		c, ok := e.(*expr.Column)
		plain = plain && ok && arrow.TypeEqual(c.DT, out.Field(i).Type)
		expr.Columns(e, used)
	}
	kept := func(i int) int {
		if j.Keep == nil {
			return i
		}
		return j.Keep[i]
	}
	c := *j
	c.Keep = make([]int, 0, len(es))
	if plain {
		for _, e := range es {
			c.Keep = append(c.Keep, kept(e.(*expr.Column).Index))
		}
		c.Out = out
		return &c
	}
	at := map[int]int{}
	var fields []arrow.Field
	for i, f := range j.Out.Fields() {
		if used[i] {
			at[i] = len(fields)
			fields = append(fields, f)
			c.Keep = append(c.Keep, kept(i))
		}
	}
	c.Out = arrow.NewSchema(fields, nil)
	moved := make([]expr.Expr, len(es))
	for i, e := range es {
		moved[i] = expr.Remap(e, func(i int) int { return at[i] })
	}
	return &physical.Project{Input: &c, Exprs: moved, Out: out}
}

// bytes estimates the size of a plan's result, 0 if it cannot be told.
func (b *builder) bytes(n logical.Node) int64 {
	switch n := n.(type) {
	case *logical.Scan:
		if b.opts.Bytes == nil {
			return 0
		}
		return b.opts.Bytes(n.Table)
	case *logical.Values:
		return int64(len(n.Rows)*n.Out.NumFields()*8) + 1
	case *logical.WorkTable:
		return 0
	case *logical.Range:
		return rangeBytes(n)
	case *logical.Join:
		return b.bytes(n.Left)
	case *logical.Union:
		var sum int64
		for _, in := range n.In {
			s := b.bytes(in)
			if s == 0 {
				return 0
			}
			sum += s
		}
		return sum
	case *logical.Limit:
		if n.Count >= 0 && n.Count < 1<<16 {
			return max(1, n.Count*int64(n.Schema().NumFields())*16)
		}
		return b.bytes(n.Input)
	default:
		return b.bytes(n.Inputs()[0])
	}
}
