package executor

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/exchange"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sources"
)

// TestWatermarkOfEachPartition tells how far each partition of a source has come,
// and names one that has no rows: it holds the watermark back.
func TestWatermarkOfEachPartition(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer alloc.AssertSize(t, 0)
	tb, rows := timed(rand.New(rand.NewPCG(1, 2)), alloc, 40)
	all := tb.rec
	src := &memSource{splits: [][]arrow.RecordBatch{{all.NewSlice(0, 10), all.NewSlice(10, 20)}, {all.NewSlice(20, 30)}, nil, {all.NewSlice(30, 40)}}}
	all.Release()
	plan := &physical.Plan{Key: "k", Stream: true, Stages: []*physical.Stage{{
		Kind: physical.Splits, Sources: []string{"src"}, Output: physical.ToOne{},
		Root: &physical.Watermark{Input: &physical.Scan{Source: "src", Out: tb.schema}, Col: 0, Source: "src"},
	}}}
	task, err := Build(plan, 0)
	if err != nil {
		t.Fatal(err)
	}
	outputs := exchange.New(exchange.Options{})
	defer outputs.Close()
	spec := batch.TaskSpec{Task: batch.TaskID{Query: "q"}, Plan: "k", Parts: 1, Base: batch.None}
	for i, p := range []string{"0", "1", "2", "0"} {
		spec.Splits = append(spec.Splits, batch.Split{Source: "src", Index: i, Partition: p})
	}
	res, err := task.Run(t.Context(), Env{Alloc: alloc, Opener: func(string) (sources.Opener, error) { return src, nil }, Outputs: outputs}, spec)
	if err != nil {
		t.Fatal(err)
	}
	high := func(ranges ...[2]int) batch.EventTime {
		most := batch.NoTime
		for _, r := range ranges {
			for _, row := range rows[r[0]:r[1]] {
				most = max(most, batch.EventTime(row.ts))
			}
		}
		return most
	}
	want := fmt.Sprint([]batch.SourceTime{
		{Source: "src", Partition: "0", Max: high([2]int{0, 20}, [2]int{30, 40})}, {Source: "src", Partition: "1", Max: high([2]int{20, 30})},
		{Source: "src", Partition: "2", Max: batch.NoTime},
	})
	if got := fmt.Sprint(res.Times); got != want {
		t.Errorf("times %s, want %s", got, want)
	}
	if err := task.Close(); err != nil {
		t.Error(err)
	}
	src.release()
}
