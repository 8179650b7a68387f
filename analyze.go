package sluice

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner"
	"github.com/sluice-stream/sluice/sql/ast"
)

// analysis sums over the tasks of each stage of one query, as they report.
type analysis struct {
	plan   *planner.Query
	stages map[int]*stageWork
}

type stageWork struct {
	tasks int
	took  time.Duration // of the longest task
	ops   []batch.OpCount
}

// add takes in a finished task.
func (a *analysis) add(res *batch.TaskResult) {
	st := a.stages[res.Task.Stage]
	if st == nil {
		st = &stageWork{}
		a.stages[res.Task.Stage] = st
	}
	st.tasks++
	st.ops = batch.AddOps(st.ops, res.Ops)
	if len(res.Ops) > 0 {
		st.took = max(st.took, time.Duration(res.Ops[0].Nanos))
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
