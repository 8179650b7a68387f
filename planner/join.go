package planner

import (
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

func (b *builder) join(n *logical.Join) (*fragment, error) {
	if scan := b.keyedScan(n.Right); scan != nil {
		return b.lookupJoin(n, scan)
	}
	l, err := b.under(n.Left)
	if err != nil {
		return nil, err
	}
	r, err := b.under(n.Right)
	if err != nil {
		return nil, err
	}
	j := &physical.HashJoin{
		Kind: n.Kind, LeftKeys: n.LeftKeys, RightKeys: n.RightKeys, NullSafe: n.NullSafe,
		Residual: n.Residual, Out: n.Schema(),
	}
	if b.stateful(l, r) && l.static != r.static && !l.changes && !r.changes && staticSide(n.Kind, l.static) {
		return b.broadcastJoin(buildStatic(j, l), l, r), nil
	}
	if b.stateful(l, r) {
		if l.static && looksUp(n.Left) || r.static && looksUp(n.Right) {
			return nil, refuse(n.String(), "the rows that look a table up may be taken back, and it may have changed since they met it; join before what changes them")
		}
		return b.streamJoin(n, j, l, r), nil
	}
	return b.batchJoin(n, j, l, r), nil
}

// looksUp reports whether a table is met as it is with each batch.
func looksUp(n logical.Node) (found bool) {
	logical.Walk(n, func(n logical.Node) bool {
		s, ok := n.(*logical.Scan)
		found = found || ok && s.Table.Lookup
		return !found
	})
	return found
}

// staticSide reports whether a join can put out its rows as those of the stream
// come: kinds that tell of unmatched rows of the static side have to keep the stream.
func staticSide(kind logical.JoinKind, left bool) bool {
	switch kind {
	case logical.Inner, logical.Cross:
		return true
	case logical.LeftOuter, logical.LeftSemi, logical.LeftAnti:
		return !left
	case logical.RightOuter:
		return left
	default:
		return false
	}
}

func buildStatic(j *physical.HashJoin, l *fragment) *physical.HashJoin {
	j.BuildLeft = l.static
	return j
}

// streamJoin keeps both sides. A static side is read with the first batch and
// has no changes afterwards.
func (b *builder) streamJoin(n *logical.Join, j *physical.HashJoin, l, r *fragment) *fragment {
	if f := b.intervalJoin(n, l, r); f != nil {
		return f
	}
	keys := [][]expr.Expr{n.LeftKeys, n.RightKeys}
	name, c := b.operatorName("join", n), closing{key: -1}
	if !l.static && !r.static {
		c = closingBy([]logical.Node{n.Left, n.Right}, keys)
	}
	ins := c.onTime(name, keys, l, r)
	f := b.recompute(name, keys, func(tables []physical.Node) physical.Node {
		j.Left, j.Right = tables[0], tables[1]
		j.BuildLeft = n.Kind == logical.RightOuter
		return j
	}, ins...)
	inner := n.Kind == logical.Inner || n.Kind == logical.Cross
	// A row that has met one has met it for ever.
	grows := (inner || n.Kind == logical.LeftSemi) && !l.changes && !r.changes
	f = b.closeGroups(f, c, b.mode == "append" && !grows)
	if r, ok := f.root.(*physical.Recompute); !ok || r.Final || !inner && !grows {
		return f
	}
	return b.changeRecompute(f, func(c *physical.Recompute) {
		if c.Bilinear, c.Grows = inner, grows; grows {
			c.Out = c.Body.Schema()
		}
	})
}

// broadcastJoin sends the build side to all tasks of the probe side.
func (b *builder) broadcastJoin(j *physical.HashJoin, l, r *fragment) *fragment {
	build, probe := r, l
	if j.BuildLeft {
		build, probe = l, r
	}
	id := b.sendAll(build)
	read := &physical.ExchangeRead{Stage: id, Out: build.root.Schema()}
	j.Left, j.Right = l.root, read
	if j.BuildLeft {
		j.Left, j.Right = read, r.root
	}
	f := probe.wrap(j)
	f.inputs = inputsOf(probe.inputs, []int{id})
	return f
}

// batchJoin sends a small side to all tasks of the other, which then needs no
// exchange; else both sides are spread by key, where they are not already.
func (b *builder) batchJoin(n *logical.Join, j *physical.HashJoin, l, r *fragment) *fragment {
	if l.local || r.local {
		return b.localJoin(j, l, r)
	}
	lsize, rsize := b.size(n.Left), b.size(n.Right)
	leftOK := (n.Kind == logical.Inner || n.Kind == logical.Cross || n.Kind == logical.RightOuter) && lsize.small
	rightOK := n.Kind != logical.RightOuter && n.Kind != logical.FullOuter
	if len(n.LeftKeys) > 0 && b.together(l, r, n) {
		leftOK, rsize.small = false, false // they meet where they are
	}
	switch {
	case rightOK && rsize.small && (!leftOK || rsize.bytes <= lsize.bytes):
		return b.broadcastJoin(j, l, r)
	case leftOK:
		j.BuildLeft = true
		return b.broadcastJoin(j, l, r)
	}
	if len(n.LeftKeys) == 0 {
		if rightOK {
			return b.broadcastJoin(j, l, r)
		}
		l, r = b.single(l), b.single(r)
	} else {
		l, r = b.meet(l, r, n)
	}
	j.Left, j.Right = l.root, r.root
	j.BuildLeft = lsize.bytes > 0 && lsize.bytes < rsize.bytes || lsize.bytes == 0 && n.Kind == logical.RightOuter
	f := &fragment{
		root: j, kind: l.kind, inputs: inputsOf(l.inputs, r.inputs),
		static: l.static && r.static, state: append(slices.Clone(l.state), r.state...),
		sources: append(slices.Clone(l.sources), r.sources...),
	}
	f.spread = joinedSpread(n, l, r)
	return f
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

// sideSize is what is known of a join's side.
type sideSize struct {
	bytes float64 // 0 if nothing is known
	small bool    // it may be sent to all tasks
}

// size estimates a join's side. A stream's plan looks at nothing that can change.
func (b *builder) size(n logical.Node) sideSize {
	if b.stats == nil {
		s := fixedBytes(n)
		return sideSize{bytes: float64(s), small: s > 0 && s <= broadcastMost}
	}
	r := b.stats.Of(n)
	s := sideSize{bytes: max(1, r.Bytes())}
	most := float64(b.opts.BroadcastMax)
	if r.Guess {
		most = min(most, broadcastMost)
	}
	s.small = s.bytes <= most
	return s
}

// fixedBytes is the size of a result that the text of the query bounds, 0 if it
// does not.
func fixedBytes(n logical.Node) int64 {
	switch n := n.(type) {
	case *logical.Scan, *logical.WorkTable:
		return 0
	case *logical.Values:
		return int64(len(n.Rows)*n.Out.NumFields()*8) + 1
	case *logical.Range:
		return rangeBytes(n)
	case *logical.Join:
		return fixedBytes(n.Left)
	case *logical.Union:
		var sum int64
		for _, in := range n.In {
			s := fixedBytes(in)
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
		return fixedBytes(n.Input)
	default:
		return fixedBytes(n.Inputs()[0])
	}
}
