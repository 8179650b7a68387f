package executor

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// less is a residual: left.v < right.w over integers, NULL if either is.
var less = &expr.Function{Name: "<", Infix: "<", Strict: true, Kernel: func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	b := array.NewBooleanBuilder(kc.Alloc)
	defer b.Release()
	x, y := args[0].Arr.(*array.Int64), args[1].Arr.(*array.Int64)
	for i := range n {
		at := [2]int{i, i}
		for k := range at {
			if args[k].Const {
				at[k] = 0
			}
		}
		if x.IsNull(at[0]) || y.IsNull(at[1]) {
			b.AppendNull()
		} else {
			b.Append(x.Value(at[0]) < y.Value(at[1]))
		}
	}
	return b.NewArray(), nil
}}

type joinCase struct {
	kind      logical.JoinKind
	buildLeft bool
	nullSafe  bool
	residual  bool
	keys      int
}

func (c joinCase) plan(l, r *table) *physical.Plan {
	j := &physical.HashJoin{Left: &physical.ExchangeRead{Stage: 0, Out: l.schema}, Right: &physical.ExchangeRead{Stage: 1, Out: r.schema},
		Kind: c.kind, BuildLeft: c.buildLeft}
	for i := range c.keys {
		j.LeftKeys, j.RightKeys = append(j.LeftKeys, column(l.schema, i)), append(j.RightKeys, column(r.schema, i))
		j.NullSafe = append(j.NullSafe, c.nullSafe)
	}
	fields := append(append([]arrow.Field{}, l.schema.Fields()...), r.schema.Fields()...)
	if c.residual {
		both := arrow.NewSchema(fields, nil)
		j.Residual = &expr.Call{Func: less, Args: []expr.Expr{column(both, 2), column(both, 5)}, DT: tBool, Null: true}
	}
	j.Out = arrow.NewSchema(fields, nil)
	if c.kind == logical.LeftSemi || c.kind == logical.LeftAnti {
		j.Out = arrow.NewSchema(fields[:3], nil)
	}
	var lk, rk physical.Output = physical.ToHash{Keys: j.LeftKeys}, physical.ToHash{Keys: j.RightKeys}
	kind := physical.Hash
	if c.keys == 0 {
		lk, rk, kind = physical.ToOne{}, physical.ToOne{}, physical.Single
	}
	return &physical.Plan{Stages: []*physical.Stage{
		{ID: 0, Root: &physical.Scan{Source: "l", Out: l.schema}, Kind: physical.Splits, Output: lk, Sources: []string{"l"}},
		{ID: 1, Root: &physical.Scan{Source: "r", Out: r.schema}, Kind: physical.Splits, Output: rk, Sources: []string{"r"}},
		{ID: 2, Root: j, Kind: kind, Output: physical.ToClient{}, Inputs: []int{0, 1}},
	}}
}

// broadcastPlan sends the right side to all tasks of the left one.
func (c joinCase) broadcastPlan(l, r *table) *physical.Plan {
	plan := c.plan(l, r)
	plan.Stages[1].Output = physical.ToAll{}
	j := plan.Stages[2].Root.(*physical.HashJoin)
	j.Left = plan.Stages[0].Root
	plan.Stages[2] = &physical.Stage{ID: 2, Root: j, Kind: physical.Splits, Output: physical.ToClient{}, Sources: []string{"l"}, Inputs: []int{1}}
	return plan
}

// nested is the nested-loop join.
func (c joinCase) nested(l, r *table) (out []string) {
	rightSeen := make([]bool, r.rec.NumRows())
	pad := func(n int) (s string) {
		for range n {
			s += `"(null)"|`
		}
		return s
	}
	for i := range int(l.rec.NumRows()) {
		seen := false
		left := rowText(l.rec.Columns(), i)
		for k := range int(r.rec.NumRows()) {
			if !c.matches(l, r, i, k) {
				continue
			}
			seen, rightSeen[k] = true, true
			if c.kind != logical.LeftSemi && c.kind != logical.LeftAnti {
				out = append(out, left+rowText(r.rec.Columns(), k))
			}
		}
		switch {
		case c.kind == logical.LeftSemi && seen, c.kind == logical.LeftAnti && !seen:
			out = append(out, left)
		case (c.kind == logical.LeftOuter || c.kind == logical.FullOuter) && !seen:
			out = append(out, left+pad(3))
		}
	}
	if c.kind == logical.RightOuter || c.kind == logical.FullOuter {
		for k, seen := range rightSeen {
			if !seen {
				out = append(out, pad(3)+rowText(r.rec.Columns(), k))
			}
		}
	}
	return out
}

func (c joinCase) matches(l, r *table, i, k int) bool {
	for key := range c.keys {
		x, y := l.rec.Column(key), r.rec.Column(key)
		if x.IsNull(i) || y.IsNull(k) {
			if !c.nullSafe || x.IsNull(i) != y.IsNull(k) {
				return false
			}
		} else if x.ValueStr(i) != y.ValueStr(k) {
			return false
		}
	}
	if !c.residual {
		return true
	}
	v, w := l.rec.Column(2).(*array.Int64), r.rec.Column(2).(*array.Int64)
	return v.IsValid(i) && w.IsValid(k) && v.Value(i) < w.Value(k)
}

func TestHashJoinEqualsTheNestedLoop(t *testing.T) {
	for kind := logical.Inner; kind <= logical.Cross; kind++ {
		for flags := range 8 {
			c := joinCase{kind: kind, buildLeft: flags&1 > 0, nullSafe: flags&2 > 0, residual: flags&4 > 0, keys: 2}
			if kind == logical.Cross {
				c.keys = 0
			}
			for _, sizes := range [][2]int{{0, 0}, {40, 0}, {0, 40}, {60, 90}, {400, 3}} {
				checkJoin(t, c, sizes)
			}
		}
	}
	// One key has more pairs than an output batch.
	checkJoin(t, joinCase{kind: logical.LeftOuter, keys: 0, residual: true}, [2]int{220, 200})
}

func checkJoin(t *testing.T, c joinCase, sizes [2]int) {
	t.Helper()
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(uint64(sizes[0]), uint64(sizes[1])))
	fields := func(p string) []arrow.Field {
		return []arrow.Field{{Name: p + "0", Type: tInt}, {Name: p + "1", Type: tString}, {Name: p + "2", Type: tInt}}
	}
	left, right := randomTable(r, alloc, sizes[0], 5, fields("l")...), randomTable(r, alloc, sizes[1], 5, fields("r")...)
	e := newEngine(t, alloc, c.plan(left, right), 3)
	e.sources["l"], e.sources["r"] = left.cut(r, 0, sizes[0], 2), right.cut(r, 0, sizes[1], 2)
	got := e.run(0, batch.NoTime, batch.NoTime)
	sameRows(t, fmt.Sprintf("%+v sizes %v", c, sizes), got, c.nested(left, right))
	e.sources["l"].release()
	e.sources["r"].release()
	left.rec.Release()
	right.rec.Release()
	e.close()
}

func TestABuildSideOfTheSameVersionIsReadOnce(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	r := rand.New(rand.NewPCG(1, 2))
	fields := []arrow.Field{{Name: "a", Type: tInt}, {Name: "b", Type: tString}, {Name: "c", Type: tInt}}
	left, right := randomTable(r, alloc, 50, 5, fields...), randomTable(r, alloc, 20, 5, fields...)
	c := joinCase{kind: logical.FullOuter, keys: 1}
	plan := c.plan(left, right)
	plan.Stages[1].Static = true
	e := newEngine(t, alloc, plan, 1)
	e.sources["l"], e.sources["r"] = left.cut(r, 0, 50, 1), right.cut(r, 0, 20, 1)
	want := c.nested(left, right)
	for id := range 3 {
		sameRows(t, fmt.Sprint("batch ", id), e.run(batch.ID(id), batch.NoTime, batch.NoTime), want)
		read := e.tasks[2].ops[2].stats.Rows // the build side's ExchangeRead
		if id == 0 && read != 20 || id > 0 && read != 20 {
			t.Errorf("batch %d read %d rows of the build side", id, read)
		}
	}
	join := e.tasks[2].root.(*watched).op.(*hashJoin)
	if join.build.version != "1@v1 part 0 of 1" {
		t.Errorf("version %q", join.build.version)
	}
	e.sources["l"].release()
	e.sources["r"].release()
	left.rec.Release()
	right.rec.Release()
	e.close()
}
