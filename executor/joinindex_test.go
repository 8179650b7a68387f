package executor

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// TestAnIndexFindsTheRowsOfAKeyInOrder compares every form with a map.
func TestAnIndexFindsTheRowsOfAKeyInOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, stride := range []int{1, 2} {
		for _, n := range []int{0, 1, 2, 63, 64, 1000, 70000} {
			if testing.Short() && n > 64 && stride == 2 {
				continue
			}
			for _, form := range []struct {
				domain uint64
				scale  uint64
				partly bool
			}{{10, 1, false}, {uint64(n) + 1, 1, true}, {uint64(4*n) + 1, 3, false}, {1 << 40, 1 << 20, true}, {uint64(n/3) + 1, 1 << 50, false}} {
				checkIndex(t, r, stride, n, form.domain, form.scale, form.partly)
			}
		}
	}
}

func checkIndex(t *testing.T, r *rand.Rand, stride, n int, domain, scale uint64, partly bool) {
	t.Helper()
	key := func() (a, b uint64) {
		a = r.Uint64N(domain)*scale + 7
		if stride == 2 {
			b = a & 1
		}
		return a, b
	}
	words := make([]uint64, 0, n*stride)
	want := map[[2]uint64][]int32{}
	var valid []uint32
	if partly {
		valid = []uint32{}
	}
	add := func(a, b uint64) {
		words = append(words, a)
		if stride == 2 {
			words = append(words, b)
		}
	}
	for i := range n {
		a, b := key()
		add(a, b)
		if partly && r.IntN(3) == 0 {
			continue
		}
		if partly {
			valid = append(valid, uint32(i))
		}
		want[[2]uint64{a, b}] = append(want[[2]uint64{a, b}], int32(i))
	}
	x := buildJoinIndex(slices.Clone(words), stride, n, valid, true, eachPart)
	for range 500 {
		add(key())
	}
	m := len(words) / stride
	lo, hi, may := make([]uint32, m), make([]uint32, m), make([]bool, m)
	x.lookup(words, lo, hi)
	for _, i := range x.may(words, m, []int32{-1})[1:] {
		may[i] = true
	}
	for i := 0; i < m; i += 1 + m/1000 {
		k := [2]uint64{words[i*stride]}
		if stride == 2 {
			k[1] = words[i*stride+1]
		}
		var got []int32
		for at := lo[i]; at < hi[i]; at++ {
			got = append(got, x.row(at))
		}
		if !slices.Equal(got, want[k]) || len(got) > 0 && !may[i] {
			t.Fatalf("stride %d n %d domain %d scale %d: key %v: rows %v, want %v; may be there: %v", stride, n, domain, scale, k, got, want[k], may[i])
		}
	}
	for k, rows := range want {
		if len(rows) > 1 && x.unique {
			t.Fatalf("stride %d n %d: key %v has rows %v, and the index says that none has two", stride, n, k, rows)
		}
	}
}

func TestScansDropRowsThatMeetNobody(t *testing.T) {
	for kind := logical.Inner; kind <= logical.Cross; kind++ {
		for keys := range 3 {
			alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
			r := rand.New(rand.NewPCG(7, uint64(keys)))
			fields := func() []arrow.Field {
				return []arrow.Field{{Name: "a", Type: tInt}, {Name: "b", Type: tString}, {Name: "c", Type: tInt}}
			}
			left, right := randomTable(r, alloc, 600, 40, fields()...), randomTable(r, alloc, 9, 40, fields()...)
			c := joinCase{kind: kind, keys: keys}
			if kind == logical.RightOuter || kind == logical.FullOuter || (kind == logical.Cross) != (keys == 0) {
				continue // rows of the right side come out alone: no task may see a part of the left one only
			}
			plan := c.broadcastPlan(left, right)
			// One more join in between, of which the probe side is the scan.
			j := plan.Stages[2].Root.(*physical.HashJoin)
			fs := left.schema.Fields()
			j.Left = &physical.HashJoin{Kind: logical.LeftSemi, Left: j.Left, Right: &physical.ExchangeRead{Stage: 3, Out: left.schema},
				LeftKeys: exprs(left.col("c")), RightKeys: exprs(left.col("c")), NullSafe: []bool{true}, Out: arrow.NewSchema(fs, nil)}
			plan.Stages = []*physical.Stage{{ID: 0, Root: plan.Stages[0].Root, Kind: physical.Splits, Output: physical.ToAll{}, Sources: []string{"l"}}, plan.Stages[1], plan.Stages[2]}
			j.Left.(*physical.HashJoin).Right.(*physical.ExchangeRead).Stage = 0
			plan.Stages[2].Inputs = []int{0, 1}
			e := newEngine(t, alloc, plan, 1)
			e.sources["l"], e.sources["r"] = left.cut(r, 0, 600, 2), right.cut(r, 0, 9, 1)
			sameRows(t, fmt.Sprintf("%+v", c), e.run(0, batch.NoTime, batch.NoTime), c.nested(left, right))
			dropped := int64(0)
			for _, w := range e.tasks[2].ops {
				if s, ok := w.op.(*scan); ok {
					dropped += s.dropped
				}
			}
			if want := keys > 0 && (kind == logical.Inner || kind == logical.LeftSemi); (dropped > 0) != want {
				t.Errorf("%+v: %d rows were dropped by the scan", c, dropped)
			}
			e.sources["l"].release()
			e.sources["r"].release()
			left.rec.Release()
			right.rec.Release()
			e.close()
			alloc.AssertSize(t, 0)
		}
	}
}
