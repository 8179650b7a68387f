package planner

import (
	"slices"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/incremental"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// intervalJoin plans a join of two streams whose condition bounds how far apart
// the times of a pair are, so that the watermark bounds what is kept. It returns
// nil where that is not so, and where the whole result must stay.
func (b *builder) intervalJoin(n *logical.Join, l, r *fragment) *fragment {
	v, ok := incremental.IntervalOf(n)
	if !ok || l.changes || r.changes || l.static || r.static || b.mode == "complete" {
		return nil
	}
	name := b.operatorName("join", n)
	j := &physical.IntervalJoin{
		Kind: n.Kind, LeftKeys: n.LeftKeys, RightKeys: n.RightKeys, NullSafe: n.NullSafe, Residual: n.Residual,
		Times: [2]int{v.LeftTime, v.RightTime}, Operator: name, Out: n.Schema(),
	}
	if v.HasLow {
		j.Low = &v.Low
	}
	if v.HasHigh {
		j.High = &v.High
	}
	if keep, ok := v.LeftKeep(); ok {
		j.Keep[0] = &keep
	}
	if keep, ok := v.RightKeep(); ok {
		j.Keep[1] = &keep
	}
	lone := lonely(n.Kind)
	if b.mode == "append" && (lone[0] && j.Keep[0] == nil || lone[1] && j.Keep[1] == nil) {
		return nil // they would never come out
	}
	j.Own = ownConditions(n, lone)
	j.Final = b.mode == "append"
	changes := !j.Final && (lone[0] || lone[1])
	if changes {
		j.Out = withOp(j.Out)
	}
	ins := []*fragment{l, r}
	for i, side := range []struct {
		node logical.Node
		keys []expr.Expr
	}{{n.Left, n.LeftKeys}, {n.Right, n.RightKeys}} {
		t := incremental.EventTimes(side.node)[j.Times[i]]
		if !t.OnTime {
			f := side.node.Schema().Field(j.Times[i])
			col := &expr.Column{Index: j.Times[i], Name: f.Name, DT: f.Type, Null: f.Nullable}
			ins[i] = ins[i].wrap(&physical.LateFilter{Input: ins[i].root, End: col, Shift: t.Shift, Operator: name})
		}
		ins[i] = b.partitioned(ins[i], side.keys, true)
	}
	j.Left, j.Right = ins[0].root, ins[1].root
	out := &fragment{root: j, kind: max(ins[0].kind, ins[1].kind), changes: changes}
	if len(n.LeftKeys) > 0 {
		out.kind = physical.Hash
	} else {
		out.kind = physical.Single
	}
	for _, f := range ins {
		out.inputs = append(out.inputs, f.inputs...)
		out.sources = append(out.sources, f.sources...)
		out.state = append(out.state, f.state...)
	}
	out.state = append(out.state, name)
	verdict := incremental.Verdict{Operator: name, Bound: incremental.ByWatermark}
	if j.Keep[0] == nil || j.Keep[1] == nil {
		verdict = incremental.Verdict{Operator: name, Bound: incremental.Unbounded, Advice: "its condition bounds the difference of the times of both sides from one end alone"}
	}
	b.query.Verdicts = append(b.query.Verdicts, verdict)
	return out
}

// lonely says of which sides a kind of join tells the rows without partners.
func lonely(k logical.JoinKind) [2]bool {
	switch k {
	case logical.LeftOuter, logical.LeftAnti:
		return [2]bool{true, false}
	case logical.RightOuter:
		return [2]bool{false, true}
	case logical.FullOuter:
		return [2]bool{true, true}
	default:
		return [2]bool{}
	}
}

// ownConditions is what the condition of a join says of a lonely side alone, as far as
// no row can make it fail: a row without partners was never asked the rest.
func ownConditions(n *logical.Join, lone [2]bool) (own [2]expr.Expr) {
	width := n.Left.Schema().NumFields()
	var found [2][]expr.Expr
	for _, c := range expr.Conjuncts(n.Residual) {
		columns := map[int]bool{}
		expr.Columns(c, columns)
		var of [2]bool
		for col := range columns {
			of[min(col/width, 1)] = true
		}
		for side := range of {
			if lone[side] && of[side] && !of[1-side] && neverFails(c) {
				found[side] = append(found[side], expr.Remap(c, func(i int) int { return i - side*width }))
			}
		}
	}
	for side := range found {
		own[side] = expr.AndAll(found[side])
	}
	return own
}

// neverFails says of comparisons of columns and constants that they have a result for every row.
func neverFails(e expr.Expr) bool {
	ok := true
	expr.Walk(e, func(x expr.Expr) bool {
		switch x := x.(type) {
		case *expr.Column, *expr.Literal, *expr.Logical, *expr.In:
		case *expr.Call:
			switch x.Func.Infix {
			case "=", "<=>", "<>", "<", "<=", ">", ">=":
			default:
				ok = ok && slices.Contains([]string{"not", "isnull", "isnotnull"}, x.Func.Name)
			}
		default:
			ok = false
		}
		return ok
	})
	return ok
}
