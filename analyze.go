package sluice

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor"
	"github.com/sluice-stream/sluice/planner"
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
	plan   *planner.Query
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
		if addOperator(&st.ops[i], op); i == 0 {
			st.took = max(st.took, time.Duration(op.Nanos))
		}
	}
}

func addOperator(sum *executor.OpStats, op executor.OpStats) {
	sum.Depth, sum.Name = op.Depth, op.Name
	sum.Rows += op.Rows
	sum.Batches += op.Batches
	sum.Bytes += op.Bytes
	sum.Nanos += op.Nanos
	sum.Memory += op.Memory
	sum.Spilled += op.Spilled
	for _, n := range op.Notes {
		at := slices.IndexFunc(sum.Notes, func(o executor.Note) bool { return o.Name == n.Name })
		if at < 0 {
			sum.Notes = append(sum.Notes, n)
			continue
		}
		sum.Notes[at].Value += n.Value
	}
}

// begin notes that the tasks of a query are to be watched.
func (a *analyses) begin(id batch.QueryID, pq *planner.Query) *analysis {
	one := &analysis{plan: pq, stages: map[int]*stageWork{}}
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
	if a.mu.byQuery[string(id)] != nil {
		delete(a.mu.byQuery, string(id))
		a.running.Add(-1)
	}
}

// analysing marks a context in which what a query does is noted, in its value.
type analysing struct{}

// analysed takes the analysis of the query that was run under a context.
type analysed struct{ one *analysis }

// explainAnalyze runs a statement, throws its rows away and prints its plan with
// what each operator did.
func (s *Session) explainAnalyze(ctx context.Context, st *ast.Explain) (*Result, error) {
	if _, ok := st.Stmt.(*ast.CreateStreamingQuery); ok || !hasPlan(st.Stmt) {
		return nil, ast.Errorf(st.Pos, "EXPLAIN ANALYZE runs a query: write it in front of SELECT, INSERT or CREATE TABLE AS")
	}
	if _, ok := st.Stmt.(*ast.CreateView); ok {
		return nil, ast.Errorf(st.Pos, "EXPLAIN ANALYZE runs a query, and CREATE VIEW runs none; write it in front of SELECT")
	}
	var done analysed
	start := time.Now()
	r, err := s.execute(context.WithValue(ctx, analysing{}, &done), st.Stmt)
	if err != nil {
		return nil, err
	}
	rows := int64(0)
	if r.Rows != nil {
		rows, err = drainRows(ctx, r.Rows)
		if err = errors.Join(err, r.Rows.Close()); err != nil {
			return nil, err
		}
	}
	if done.one == nil {
		return s.planRows(commandPlan(st)), nil
	}
	sum := analysisSummary{rows: rows, message: r.Message, took: time.Since(start), peak: s.memory.Peak()}
	s.analyses.mu.Lock()
	defer s.analyses.mu.Unlock()
	if st.Format == "JSON" {
		return s.planRows(done.one.json(sum)), nil
	}
	return s.planRows(done.one.text(sum)), nil
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
