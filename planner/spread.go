package planner

import (
	"slices"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// Where rows are. An exchange by key costs as much as a join, so that what is
// spread by key already stays where it is: a join of three tables on one key, a
// grouping by the key of the join below.

// spreadBy is how an exchange by these keys leaves the rows: equal ones in one
// task, if all keys are columns.
func spreadBy(keys []expr.Expr) [][]int {
	cols, ok := columnsOf(keys)
	if !ok {
		return nil
	}
	return [][]int{cols}
}

func columnsOf(keys []expr.Expr) ([]int, bool) {
	cols := make([]int, len(keys))
	for i, k := range keys {
		c, ok := k.(*expr.Column)
		if !ok || c.Index < 0 {
			return nil, false
		}
		cols[i] = c.Index
	}
	return cols, len(cols) > 0
}

// passedOn says how rows are spread behind an operator of the same task.
func passedOn(spread [][]int, root physical.Node) [][]int {
	if len(spread) == 0 {
		return nil
	}
	switch n := root.(type) {
	case *physical.Filter, *physical.Sort, *physical.Limit, *physical.TopN, *physical.Analytic, *physical.LimitBy, *physical.Sessions:
		return spread
	case *physical.Project:
		return throughProject(spread, n.Exprs)
	case *physical.PartialAggregate:
		return throughProject(spread, n.Keys)
	case *physical.FinalAggregate: // its keys are the first columns of its input
		return slices.DeleteFunc(slices.Clone(spread), func(s []int) bool { return slices.Max(s) >= n.NKeys })
	case *physical.CompleteAggregate:
		return throughProject(spread, n.Keys)
	case *physical.HashJoin: // with a side that all tasks have
		if n.BuildLeft {
			by := 0
			if n.Kind != logical.LeftSemi && n.Kind != logical.LeftAnti {
				by = n.Left.Schema().NumFields()
			}
			return shifted(spread, by)
		}
		return spread
	}
	return nil
}

func shifted(spread [][]int, by int) [][]int {
	out := make([][]int, len(spread))
	for i, s := range spread {
		for _, c := range s {
			out[i] = append(out[i], c+by)
		}
	}
	return out
}

// throughProject finds the columns again among those computed; a set with one
// that is gone is gone.
func throughProject(spread [][]int, es []expr.Expr) [][]int {
	var out [][]int
	for _, s := range spread {
		to := make([]int, 0, len(s))
		for _, c := range s {
			at := slices.IndexFunc(es, func(e expr.Expr) bool {
				x, ok := e.(*expr.Column)
				return ok && x.Index == c
			})
			if at < 0 {
				break
			}
			to = append(to, at)
		}
		if len(to) == len(s) {
			out = append(out, to)
		}
	}
	return out
}

// grouped says whether rows with equal keys are in one task.
func (f *fragment) grouped(keys []expr.Expr) bool {
	for _, s := range f.spread {
		all := true
		for _, c := range s {
			all = all && slices.ContainsFunc(keys, func(k expr.Expr) bool {
				x, ok := k.(*expr.Column)
				return ok && x.Index == c
			})
		}
		if all {
			return true
		}
	}
	return false
}

// spreadKeys returns the places of a join's keys, in order, by which one side is
// spread; nil if it is not.
func spreadKeys(f *fragment, keys []expr.Expr) [][]int {
	if f.kind != physical.Hash {
		return nil
	}
	var out [][]int
	for _, s := range f.spread {
		at := make([]int, 0, len(s))
		for _, c := range s {
			k := slices.IndexFunc(keys, func(e expr.Expr) bool {
				x, ok := e.(*expr.Column)
				return ok && x.Index == c
			})
			if k < 0 {
				break
			}
			at = append(at, k)
		}
		if len(at) == len(s) {
			out = append(out, at)
		}
	}
	return out
}

// alike says whether both keys of each pair hash alike.
func alike(n *logical.Join, at []int) bool {
	for _, k := range at {
		if expr.TypeName(n.LeftKeys[k].Type()) != expr.TypeName(n.RightKeys[k].Type()) {
			return false
		}
	}
	return true
}

// together says whether equal keys of both sides are in the same task already.
func (b *builder) together(l, r *fragment, n *logical.Join) bool {
	for _, a := range spreadKeys(l, n.LeftKeys) {
		for _, c := range spreadKeys(r, n.RightKeys) {
			if slices.Equal(a, c) && alike(n, a) {
				return true
			}
		}
	}
	return false
}

// meet brings equal keys of both sides into one task: where one side is spread by
// some of the keys, the other is spread by the same.
func (b *builder) meet(l, r *fragment, n *logical.Join) (*fragment, *fragment) {
	if b.together(l, r, n) {
		return l, r
	}
	for _, at := range spreadKeys(l, n.LeftKeys) {
		if alike(n, at) {
			return l, b.exchange(r, physical.ToHash{Keys: pick(n.RightKeys, at)})
		}
	}
	for _, at := range spreadKeys(r, n.RightKeys) {
		if alike(n, at) {
			return b.exchange(l, physical.ToHash{Keys: pick(n.LeftKeys, at)}), r
		}
	}
	return b.exchange(l, physical.ToHash{Keys: n.LeftKeys}), b.exchange(r, physical.ToHash{Keys: n.RightKeys})
}

func pick(keys []expr.Expr, at []int) []expr.Expr {
	out := make([]expr.Expr, len(at))
	for i, k := range at {
		out[i] = keys[k]
	}
	return out
}

// joinedSpread says how the rows of a join of two spread sides are spread: by the
// columns of each side whose rows are not made up.
func joinedSpread(n *logical.Join, l, r *fragment) [][]int {
	var out [][]int
	if n.Kind != logical.RightOuter && n.Kind != logical.FullOuter {
		out = append(out, l.spread...)
	}
	if n.Kind == logical.Inner || n.Kind == logical.RightOuter {
		out = append(out, shifted(r.spread, n.Left.Schema().NumFields())...)
	}
	return out
}

// sendAll closes a fragment whose rows every task reads.
func (b *builder) sendAll(f *fragment) int {
	if read, ok := f.root.(*physical.ExchangeRead); ok && b.stats != nil {
		if _, all := b.plan.Stages[read.Stage].Output.(physical.ToAll); all {
			return read.Stage // every task can read it as it is
		}
	}
	return b.closeOnce(f, physical.ToAll{})
}

// closeOnce closes a fragment, unless there is a stage that computes the same and
// sends it the same way: a view used twice, a table joined twice. It takes plans
// that run once and give the same rows each time.
func (b *builder) closeOnce(f *fragment, out physical.Output) int {
	if b.stats == nil {
		return b.close(f, out)
	}
	text, ok := b.describe(f, out)
	if !ok {
		return b.close(f, out)
	}
	if id, ok := b.sent[text]; ok {
		return id
	}
	id := b.close(f, out)
	b.sent[text] = id
	return id
}

// inputsOf are the stages that either of two fragments reads.
func inputsOf(a, b []int) []int {
	out := slices.Clone(a)
	for _, id := range b {
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

// shared makes one stage of a plan that is used in several places, each of which
// reads all of it.
func (b *builder) shared(n *logical.Shared) (*fragment, error) {
	id, ok := b.shares[n.ID]
	if !ok {
		f, err := b.build(n.Input)
		if err != nil {
			return nil, err
		}
		id = b.sendAll(f)
		b.shares[n.ID] = id
	}
	return &fragment{
		root: &physical.ExchangeRead{Stage: id, Out: n.Schema()}, kind: physical.Single, inputs: []int{id}, static: true,
	}, nil
}
