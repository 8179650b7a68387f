package executor

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/physical"
)

func TestTasksMakeASharedTableTogether(t *testing.T) {
	const tasks, parts = 8, 1000
	tables := NewTables()
	key := tableKey{&physical.HashJoin{}, "1 of batch 0"}
	var made, sum atomic.Int64
	var wg sync.WaitGroup
	for p := range tasks {
		wg.Go(func() {
			tc := &TaskContext{Spec: batch.TaskSpec{Task: batch.TaskID{Partition: p}, Parts: tasks}}
			l, err := tables.take(t.Context(), tc, key, false, func(h *helpers) (*joinTable, error) {
				if made.Add(1) == 1 {
					return nil, errors.New("the disk is full")
				}
				for range 3 {
					h.do(parts, func(i int) { sum.Add(int64(i)) })
				}
				return &joinTable{n: 7}, nil
			})
			if err != nil {
				return // the task that had bad luck; another one makes the table
			}
			if l.shared.table.n != 7 || sum.Load() != 3*parts*(parts-1)/2 {
				t.Errorf("task %d sees a table of %d rows, sum %d", p, l.shared.table.n, sum.Load())
			}
			l.end(true)
		})
	}
	wg.Wait()
	if made.Load() != 2 {
		t.Errorf("the table was begun %d times", made.Load())
	}
}

// TestOneSlotIsEnoughForASharedTable: whoever waits for a table holds no slot, so that
// the one who makes it gets its own back when it has made room for others.
func TestOneSlotIsEnoughForASharedTable(t *testing.T) {
	const tasks, parts = 4, 20
	tables := NewTables()
	key := tableKey{&physical.HashJoin{}, "1 of batch 0"}
	slot := make(chan struct{}, 1)
	take, leave := func() { slot <- struct{}{} }, func() { <-slot }
	lend := func() func() { leave(); return take }
	var wg sync.WaitGroup
	for p := range tasks {
		wg.Go(func() {
			take()
			defer leave()
			tc := &TaskContext{Spec: batch.TaskSpec{Task: batch.TaskID{Partition: p}, Parts: tasks}, Lend: lend}
			l, err := tables.take(t.Context(), tc, key, false, func(h *helpers) (*joinTable, error) {
				for range 3 {
					lend()() // another query's turn
					h.do(parts, func(int) {})
				}
				return &joinTable{}, nil
			})
			if err != nil {
				t.Error(err)
				return
			}
			l.end(true)
		})
	}
	wg.Wait()
}

func TestWaitingForASharedTableEndsWithItsTask(t *testing.T) {
	tables := NewTables()
	key := tableKey{&physical.HashJoin{}, "v1"}
	begun, stop := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic of a part is lost")
			}
		}()
		_, _ = tables.take(t.Context(), &TaskContext{}, key, true, func(h *helpers) (*joinTable, error) {
			close(begun)
			<-stop
			h.do(10, func(i int) {
				if i == 5 {
					panic("no memory")
				}
			})
			return &joinTable{}, nil
		})
	})
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tables.take(ctx, &TaskContext{}, key, true, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled task waits on: %v", err)
	}
	close(stop)
	wg.Wait()
	l, err := tables.take(t.Context(), &TaskContext{}, key, true, func(*helpers) (*joinTable, error) { return &joinTable{n: 1}, nil })
	if err != nil || l.shared.table.n != 1 {
		t.Errorf("after a failure the next task makes the table: %v", err)
	}
	l.end(true)
	tables.Close()
	if l.shared.table != nil {
		t.Error("a table is left after Close")
	}
}
