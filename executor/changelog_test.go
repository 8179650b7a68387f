package executor

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// foldPlan reads all changes at once.
func foldPlan(tb *table, latest bool, by ...string) *physical.Plan {
	var keys []expr.Expr
	var order []expr.SortKey
	for _, name := range by {
		keys = append(keys, tb.col(name))
		order = append(order, expr.SortKey{Expr: tb.col(name), NullsFirst: true})
	}
	root := &physical.Fold{Input: &physical.Sort{Input: &physical.ExchangeRead{Out: tb.schema}, Keys: order}, By: keys, Latest: latest, Table: "t",
		Out: arrow.NewSchema(tb.schema.Fields()[:2], nil)}
	return &physical.Plan{Stages: []*physical.Stage{
		{ID: 0, Root: &physical.Scan{Source: "src", Out: tb.schema}, Kind: physical.Splits, Output: physical.ToHash{Keys: keys}, Sources: []string{"src"}},
		{ID: 1, Root: root, Kind: physical.Hash, Output: physical.ToClient{}, Inputs: []int{0}},
	}}
}

// left counts the rows that are there after the first n changes, by a loop over all.
func left(tb *table, n int, latest bool) []string {
	k, v, op := tb.rec.Column(0).(*array.Int64), tb.rec.Column(1).(*array.Int64), tb.rec.Column(2).(*array.Int8)
	count, last := map[string]int{}, map[int64]string{}
	for i := range n {
		row := fmt.Sprintf("%d|%d", k.Value(i), v.Value(i))
		gone := batch.Op(op.Value(i)) == batch.Delete || batch.Op(op.Value(i)) == batch.UpdateBefore
		switch {
		case gone:
			count[row]--
			delete(last, k.Value(i))
		default:
			count[row]++
			last[k.Value(i)] = row
		}
	}
	var out []string
	if latest {
		for _, row := range last {
			out = append(out, row)
		}
	} else {
		for row, c := range count {
			for range c {
				out = append(out, row)
			}
		}
	}
	slices.Sort(out)
	return out
}

func TestFoldGivesTheRowsThatAreLeft(t *testing.T) {
	for _, latest := range []bool{false, true} {
		for seed := range uint64(4) {
			alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
			r := rand.New(rand.NewPCG(seed, 3))
			tb := changing(r, alloc, 500)
			by := []string{"k", "v"}[:1+int(seed)%2]
			if latest {
				by = by[:1]
			}
			e := newEngine(t, alloc, foldPlan(tb, latest, by...), 1+int(seed))
			src := tb.cut(r, 0, 500, 3)
			e.sources["src"] = src
			got := e.run(0, batch.NoTime, batch.NoTime)
			for i := range got {
				got[i] = strings.Join(strings.FieldsFunc(got[i], func(c rune) bool { return !strings.ContainsRune("-0123456789", c) }), "|")
			}
			slices.Sort(got)
			if want := left(tb, 500, latest); !slices.Equal(got, want) {
				t.Errorf("latest %v, seed %d: %d rows %q, want %d %q", latest, seed, len(got), got, len(want), want)
			}
			src.release()
			tb.rec.Release()
			e.close()
			alloc.AssertSize(t, 0)
		}
	}
}

// TestLatestTellsWhatHasChanged adds up what comes out batch by batch.
func TestLatestTellsWhatHasChanged(t *testing.T) {
	for _, parts := range []int{1, 4} {
		alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
		r := rand.New(rand.NewPCG(uint64(parts), 4))
		tb := changing(r, alloc, 600)
		keys := exprs(tb.col("k"))
		e := newEngine(t, alloc, &physical.Plan{Stages: []*physical.Stage{
			{ID: 0, Root: &physical.Scan{Source: "src", Out: tb.schema}, Kind: physical.Splits, Output: physical.ToHash{Keys: keys}, Sources: []string{"src"}},
			{ID: 1, Root: &physical.Latest{Input: &physical.ExchangeRead{Out: tb.schema}, Keys: []int{0}, Operator: "last"}, Kind: physical.Hash, Output: physical.ToClient{}, Inputs: []int{0}, Stateful: []string{"last"}},
		}}, parts)
		var there []string
		for i := range 30 {
			src := tb.cut(r, 20*i, 20*(i+1), 2)
			e.sources["src"] = src
			for _, row := range e.run(batch.ID(i), batch.NoTime, batch.NoTime) {
				f := strings.FieldsFunc(row, func(c rune) bool { return !strings.ContainsRune("-0123456789", c) })
				text := f[0] + "|" + f[1]
				at := slices.Index(there, text)
				switch gone := f[2] == "1" || f[2] == "3"; {
				case !gone:
					there = append(there, text)
				case at < 0:
					t.Fatalf("batch %d takes back %q, which is not there", i, text)
				default:
					there = slices.Delete(there, at, at+1)
				}
			}
			slices.Sort(there)
			if want := left(tb, 20*(i+1), true); !slices.Equal(there, want) {
				t.Fatalf("after batch %d: %q, want %q", i, there, want)
			}
			src.release()
		}
		tb.rec.Release()
		e.close()
		alloc.AssertSize(t, 0)
	}
}
