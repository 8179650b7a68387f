package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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

// elsewhere is a network of so many workers on which task n of a stage has left two rows,
// n and n, if it is no fifth one, and none else.
type elsewhere struct {
	transport.Transport
	workers             int
	open, most, fetched int
	fails               int // the task whose rows cannot be had
	alloc               memory.Allocator
}

func (e *elsewhere) Local() transport.NodeID { return "here" }

func (e *elsewhere) FetchTasks(_ context.Context, from transport.NodeID, ref transport.StreamRef, tasks []int, alloc memory.Allocator) (transport.TasksReader, error) {
	for _, task := range tasks {
		if want := transport.NodeID(fmt.Sprint("w", task%e.workers)); from != want {
			return nil, fmt.Errorf("task %d was asked of %s", task, from)
		}
	}
	if ref.Key != "p" || ref.Partition != 1 || alloc != e.alloc || !slices.IsSorted(tasks) {
		return nil, fmt.Errorf("%+v %v was asked for", ref, tasks)
	}
	e.fetched++
	e.open++
	e.most = max(e.most, e.open)
	return &stream{e: e, TasksReader: transport.InTurn(ref, tasks, func(_ context.Context, ref transport.StreamRef) (sources.Reader, error) {
		if ref.Task == e.fails {
			return nil, errElsewhere
		}
		return &two{e: e, task: ref.Task}, nil
	})}, nil
}

var errElsewhere = errors.New("the rows are lost")

// stream is counted as long as it is open.
type stream struct {
	transport.TasksReader
	e *elsewhere
}

func (s *stream) Close() error {
	s.e.open--
	return s.TasksReader.Close()
}

type two struct {
	e          *elsewhere
	task, gave int
}

func (t *two) Next(context.Context) (arrow.RecordBatch, error) {
	if t.gave == 2 || t.task%5 == 4 {
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

func (t *two) Close() error { return nil }

// Outputs of other workers come by one stream of each, which are opened ahead, within a
// bound, and are read in task order.
func TestRemoteOutputsAreReadInOrderAndOpenedAhead(t *testing.T) {
	for _, c := range []struct {
		name          string
		workers       int
		fails, take   int
		most, fetched int
		budget        *limits.Budget
	}{
		{name: "two workers", workers: 2, fails: -1, take: 100, most: 2, fetched: 2},
		{name: "more than are read at a time", workers: 11, fails: -1, take: 100, most: 2 * aheadMax, fetched: 30},
		{name: "memory is short", workers: 3, fails: -1, take: 100, most: 1, fetched: 30, budget: limits.NewBudget(100)},
		{name: "closed early", workers: 3, fails: -1, take: 3, most: 3, fetched: 3},
		{name: "rows are lost", workers: 3, fails: 7, take: 100, most: 3, fetched: 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
			defer alloc.AssertSize(t, 0)
			net := &elsewhere{workers: c.workers, fails: c.fails, alloc: alloc}
			w := &Worker{net: net, opt: Options{Memory: c.budget}}
			if c.budget != nil {
				held := c.budget.Child("held", 0)
				defer held.Close()
				if err := held.Reserve(99); err != nil {
					t.Fatal(err)
				}
			}
			homes := transport.Homes{}
			for i := range c.workers {
				homes.Workers = append(homes.Workers, transport.NodeID(fmt.Sprint("w", i)))
			}
			r := &remoteTasks{w: w, ref: exchange.Ref{Key: "p", Stage: 1}, where: homes.Of, tasks: 30, part: 1, parts: 2, alloc: alloc}
			read := 0
			var err error
			for ; read < c.take; read++ {
				var rec arrow.RecordBatch
				if rec, err = r.Next(t.Context()); err != nil {
					break
				}
				if got, want := rec.Column(0).(*array.Int64).Value(0), int64(read/8*5+read%8/2); got != want {
					t.Fatalf("row %d is %d, want %d", read, got, want)
				}
				rec.Release()
			}
			switch {
			case c.fails >= 0 && !errors.Is(err, errElsewhere), c.fails < 0 && c.take == 100 && (err != io.EOF || read != 48):
				t.Fatalf("%d rows, then %v", read, err)
			}
			if err := r.Close(); err != nil || net.open != 0 {
				t.Fatalf("%d are open behind Close, %v", net.open, err)
			}
			if net.most != c.most || net.fetched != c.fetched {
				t.Fatalf("of %d streams %d were open at a time, want %d and %d", net.fetched, net.most, c.fetched, c.most)
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
		r, err := w.fetch(t.Context(), &job{run: run, homes: homes}, "p", run.Spec.Inputs[0], 0, 2, memory.DefaultAllocator)
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
	if _, err := (&Worker{net: &elsewhere{}}).fetch(t.Context(), &job{run: run, homes: homes}, "p", run.Spec.Inputs[0], 0, 2, nil); err == nil {
		t.Error("three tasks lie nowhere")
	}
}
