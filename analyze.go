package sluice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/executor"
	"github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/planner"
	"github.com/sluice-stream/sluice/sql"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/worker"
)

// analyses gather what the operators of some queries did. Every other query
// costs one atomic read a task.
type analyses struct {
	running atomic.Int32
	mu      struct {
		sync.Mutex
		byQuery map[string]*analysis
	}
}

// analysis sums over the tasks of each stage of one query.
type analysis struct {
	stages map[int]*stageWork
}

type stageWork struct {
	tasks int
	took  time.Duration // of the longest task
	ops   []executor.OpStats
}

// wants reports whether a plan is being analysed.
func (a *analyses) wants(key string) bool {
	if a.running.Load() == 0 {
		return false
	}
	id, _, _ := strings.Cut(key, "/")
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.byQuery[id] != nil
}

// add takes in a finished task.
func (a *analyses) add(ev worker.TaskEvent) {
	id, _, _ := strings.Cut(ev.Key, "/")
	a.mu.Lock()
	defer a.mu.Unlock()
	one := a.mu.byQuery[id]
	if one == nil {
		return
	}
	st := one.stages[ev.Spec.Task.Stage]
	if st == nil {
		st = &stageWork{}
		one.stages[ev.Spec.Task.Stage] = st
	}
	st.tasks++
	if st.ops == nil {
		st.ops = make([]executor.OpStats, len(ev.Operators))
	}
	for i, op := range ev.Operators {
		sum := &st.ops[i]
		sum.Depth, sum.Name = op.Depth, op.Name
		sum.Rows += op.Rows
		sum.Batches += op.Batches
		sum.Bytes += op.Bytes
		sum.Nanos += op.Nanos
		if i == 0 {
			st.took = max(st.took, time.Duration(op.Nanos))
		}
	}
}

func (a *analyses) begin(id batch.QueryID) *analysis {
	one := &analysis{stages: map[int]*stageWork{}}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.byQuery == nil {
		a.mu.byQuery = map[string]*analysis{}
	}
	a.mu.byQuery[string(id)] = one
	a.running.Add(1)
	return one
}

func (a *analyses) end(id batch.QueryID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.mu.byQuery, string(id))
	a.running.Add(-1)
}

// explainAnalyze runs a query, throws its rows away and prints its plan with
// what each operator did.
func (s *Session) explainAnalyze(ctx context.Context, st *ast.Explain) (*Result, error) {
	q, ok := st.Stmt.(*ast.QueryStmt)
	if !ok {
		return nil, ast.Errorf(st.Pos, "EXPLAIN ANALYZE runs a query: write it in front of SELECT")
	}
	n, err := sql.BindQuery(s.cat, q.Query, s.bindOptions())
	if err != nil {
		return nil, refused(err)
	}
	if name := s.unbounded(n); name != "" {
		return nil, refused(batch.UserErrorf("table %q never ends, EXPLAIN ANALYZE would not either", name))
	}
	pq, err := s.planBatch(planner.Output{Node: n})
	if err != nil {
		return nil, err
	}
	run, err := s.openBatch(ctx, pq, nil)
	if err != nil {
		return nil, err
	}
	work := s.analyses.begin(run.id)
	defer s.analyses.end(run.id)
	start := time.Now()
	rows, err := driver.RunBatch(ctx, run.options())
	if err != nil {
		return nil, errors.Join(err, run.close())
	}
	count, err := drainRows(ctx, rows)
	took := time.Since(start)
	if err = errors.Join(err, rows.Close(), run.close()); err != nil {
		return nil, err
	}
	return s.planRows(s.analyses.text(work, pq, count, took, s.memory.Peak())), nil
}

func drainRows(ctx context.Context, r Reader) (n int64, err error) {
	for {
		rec, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n += rec.NumRows()
		rec.Release()
	}
}

// text prints the stages. Times are summed over tasks and include what is below;
// bytes are those that an operator handed on.
func (a *analyses) text(one *analysis, pq *planner.Query, rows int64, took time.Duration, peak int64) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%d rows in %s, peak memory of the process %s\n", rows, took.Round(10*time.Microsecond), memory.FormatBytes(peak))
	for _, stage := range pq.Plan.Stages {
		st := one.stages[stage.ID]
		if st == nil {
			fmt.Fprintf(&b, "Stage %d: nothing to do\n", stage.ID)
			continue
		}
		fmt.Fprintf(&b, "Stage %d: %d tasks, the longest %s\n", stage.ID, st.tasks, st.took.Round(10*time.Microsecond))
		for _, op := range st.ops {
			fmt.Fprintf(&b, "%s%s  rows=%d batches=%d time=%s bytes=%s\n", strings.Repeat("  ", op.Depth+1), op.Name,
				op.Rows, op.Batches, time.Duration(op.Nanos).Round(10*time.Microsecond), memory.FormatBytes(op.Bytes))
		}
	}
	return b.String()
}
