package executor

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/sinks"
)

// sideOutput is the output of a task into a table that takes no results: rows that
// were set aside. What it prepares is committed with the batch. On replay nothing is
// written, and the rows are digested all the same: a batch that sets others aside is
// not the same batch.
type sideOutput struct {
	name   string
	w      sinks.Writer // nil if the rows are only digested
	rows   int64
	hasher rowkey.Hasher
	digest batch.Digest
}

// openSide opens the output of a task into a sink of the plan.
func openSide(ctx context.Context, a *attempt, name string, schema *arrow.Schema) (*sideOutput, error) {
	s := &sideOutput{name: name}
	spec := &a.tc.Spec
	for _, sink := range spec.Quarantine {
		if sink != name {
			continue
		}
		f, err := a.env.Writers(name)
		if err != nil {
			return nil, fmt.Errorf("open %q: %w", name, err)
		}
		task := spec.Task
		task.Partition |= task.Stage << stageShift
		if s.w, err = f.NewWriter(ctx, sinks.Attempt{Task: task, Term: spec.Term, Now: spec.Now}, schema, a.env.Alloc); err != nil {
			return nil, fmt.Errorf("open %q: %w", name, err)
		}
	}
	return s, nil
}

// write borrows rows of the sink's own columns, over which the digest is: it is
// compared with what a sink holds.
func (s *sideOutput) write(ctx context.Context, rec arrow.RecordBatch) error {
	s.rows += rec.NumRows()
	s.digest = s.digest.Add(s.hasher.Digest(rec.Columns(), int(rec.NumRows())))
	if s.w == nil {
		return nil
	}
	if err := s.w.Write(ctx, rec); err != nil {
		return fmt.Errorf("write %d rows to %q: %w", rec.NumRows(), s.name, err)
	}
	return nil
}

// prepare makes what was written durable.
func (s *sideOutput) prepare(ctx context.Context, res *batch.TaskResult) error {
	var p batch.Prepared
	if s.w != nil {
		var err error
		if p, err = s.w.Prepare(ctx); err != nil {
			return fmt.Errorf("prepare %d rows for %q: %w", s.rows, s.name, err)
		}
	}
	t := res.Task
	p.Sink, p.Partition, p.Rows, p.Digest = s.name, t.Partition|t.Stage<<stageShift, s.rows, s.digest
	res.Prepared = append(res.Prepared, p)
	return nil
}

func (s *sideOutput) discard() {
	if s.w != nil {
		s.w.Discard()
	}
}
