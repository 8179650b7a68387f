package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/exchange"
	limits "github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/sources"
)

// elsewhere is a network on which task n of a stage has left two rows, n and n.
type elsewhere struct {
	transport.Transport
	open, most, fetched int
	fails               int // the task whose rows cannot be had
	alloc               memory.Allocator
}

func (e *elsewhere) Local() transport.NodeID { return "here" }

func (e *elsewhere) Fetch(_ context.Context, from transport.NodeID, ref transport.StreamRef, alloc memory.Allocator) (sources.Reader, error) {
	if want := transport.NodeID(fmt.Sprint("w", ref.Task%3)); from != want || ref.Key != "p" || ref.Partition != 1 || alloc != e.alloc {
		return nil, fmt.Errorf("%+v was asked of %s", ref, from)
	}
	if ref.Task == e.fails {
		return nil, errElsewhere
	}
	e.fetched++
	e.open++
	e.most = max(e.most, e.open)
	return &two{e: e, task: ref.Task}, nil
}

var errElsewhere = errors.New("the rows are lost")

type two struct {
	e          *elsewhere
	task, gave int
}

func (t *two) Next(context.Context) (arrow.RecordBatch, error) {
	if t.gave == 2 {
		return nil, io.EOF
	}
	t.gave++
	b := array.NewInt64Builder(t.e.alloc)
	defer b.Release()
	b.Append(int64(t.task))
	col := b.NewArray()
	defer col.Release()
	return array.NewRecordBatch(arrow.NewSchema([]arrow.Field{{Name: "n", Type: col.DataType()}}, nil), []arrow.Array{col}, 1), nil
}

func (t *two) Close() error {
	t.e.open--
	return nil
}

// Outputs of other workers are opened ahead, within a bound, and read in task order.
func TestRemoteOutputsAreReadInOrderAndOpenedAhead(t *testing.T) {
	for _, c := range []struct {
		name              string
		fails, take, most int
		budget            *limits.Budget
	}{
		{name: "all", fails: -1, take: 100, most: aheadMax},
		{name: "memory is short", fails: -1, take: 100, most: 1, budget: limits.NewBudget(100)},
		{name: "closed early", fails: -1, take: 3, most: aheadMax},
		{name: "a worker is gone", fails: 7, take: 100, most: aheadMax},
	} {
		t.Run(c.name, func(t *testing.T) {
			alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
			defer alloc.AssertSize(t, 0)
			net := &elsewhere{fails: c.fails, alloc: alloc}
			w := &Worker{net: net, opt: Options{Memory: c.budget}}
			if c.budget != nil {
				held := c.budget.Child("held", 0)
				defer held.Close()
				if err := held.Reserve(99); err != nil {
					t.Fatal(err)
				}
			}
			homes := transport.Homes{Workers: []transport.NodeID{"w0", "w1", "w2"}}
			r := &remoteTasks{w: w, ref: exchange.Ref{Key: "p", Stage: 1}, where: homes.Of, tasks: 10, part: 1, parts: 2, alloc: alloc}
			read := 0
			var err error
			for ; read < c.take; read++ {
				var rec arrow.RecordBatch
				if rec, err = r.Next(t.Context()); err != nil {
					break
				}
				if got := rec.Column(0).(*array.Int64).Value(0); got != int64(read/2) {
					t.Fatalf("row %d is %d", read, got)
				}
				rec.Release()
			}
			switch {
			case c.fails >= 0 && !errors.Is(err, errElsewhere), c.fails < 0 && c.take == 100 && (err != io.EOF || read != 20):
				t.Fatalf("%d rows, then %v", read, err)
			}
			if err := r.Close(); err != nil || net.open != 0 {
				t.Fatalf("%d are open behind Close, %v", net.open, err)
			}
			if net.most != c.most {
				t.Fatalf("%d were open at a time, want %d", net.most, c.most)
			}
			if _, err := r.Next(t.Context()); err != io.EOF {
				t.Fatalf("behind Close: %v", err)
			}
		})
	}
}

// What a task reads lies where its Run says, and at home where it says nothing.
func TestInputsAreFoundAtHome(t *testing.T) {
	homes := transport.Homes{Workers: []transport.NodeID{"a", "here", "b"}, Places: []int{2, 0}}
	for _, c := range []struct {
		where [][]transport.NodeID
		want  string
	}{
		{[][]transport.NodeID{nil}, "[b a b a]"}, // tasks 2 and 3 go round
		{[][]transport.NodeID{{"a", "b", "a", "here"}}, "[a b a here]"},
	} {
		w := &Worker{net: &elsewhere{fails: -1}}
		run := transport.Run{Spec: batch.TaskSpec{Plan: "p", Inputs: []batch.Input{{Stage: 1, Tasks: 4}}}, Where: c.where}
		r, err := w.fetch(t.Context(), run, homes, run.Spec.Inputs[0], 0, 2, memory.DefaultAllocator)
		if err != nil {
			t.Fatal(err)
		}
		var got []transport.NodeID
		for task := range 4 {
			got = append(got, r.(*remoteTasks).where(task))
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%v: %v, want %s", c.where, got, c.want)
		}
	}
	run := transport.Run{Spec: batch.TaskSpec{Inputs: []batch.Input{{Stage: 1, Tasks: 4}}}, Where: [][]transport.NodeID{{"a"}}}
	if _, err := (&Worker{net: &elsewhere{}}).fetch(t.Context(), run, homes, run.Spec.Inputs[0], 0, 2, nil); err == nil {
		t.Error("three tasks lie nowhere")
	}
}
