package executor

import (
	"context"
	"encoding/binary"
	"encoding/hex"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/physical"
)

// Limits on the bad rows that a task holds before it hands them to their sink.
const (
	badRowsMax  = 1 << 10
	badBytesMax = 4 << 20
)

// stageShift parts the prepared output of different stages of a batch.
const stageShift = 20

// quarantine takes the rows of a task that cannot be decoded or computed to the
// sinks of the plan for them.
type quarantine struct {
	a    *attempt
	open []*badSink
}

// badSink is the output into one quarantine table.
type badSink struct {
	*sideOutput
	to    physical.Quarantine
	b     *array.RecordBuilder
	held  int // rows in b
	bytes int
	seq   int64 // of the task's bad rows, parts rows without a place
}

// newQuarantine is nil for a task whose plan has none. The output of a static
// stage is used in many batches: no single one could own its bad rows.
func newQuarantine(a *attempt) *quarantine {
	p := a.t.plan
	if len(p.Quarantines) == 0 || p.Stream && a.t.stage.Static {
		return nil
	}
	return &quarantine{a: a}
}

// of returns where bad rows of a source go to, "" for rows that cannot be
// computed; nil if they have no place, and are errors.
func (q *quarantine) of(source string) func(ctx context.Context, row batch.BadRow) error {
	if q == nil {
		return nil
	}
	to, ok := q.a.t.plan.QuarantineOf(source)
	if !ok {
		return nil
	}
	return func(ctx context.Context, row batch.BadRow) error {
		if source != "" {
			row.Table = to.Table
		}
		return q.add(ctx, to, row)
	}
}

func (q *quarantine) add(ctx context.Context, to physical.Quarantine, row batch.BadRow) error {
	s, err := q.sink(ctx, to)
	if err != nil {
		return err
	}
	q.a.res.Counters.Quarantined++
	s.append(q.a, row)
	if s.held < badRowsMax && s.bytes < badBytesMax {
		return nil
	}
	return s.flush(ctx)
}

// sink opens the output into a table with its first row.
func (q *quarantine) sink(ctx context.Context, to physical.Quarantine) (*badSink, error) {
	for _, s := range q.open {
		if s.name == to.Sink {
			return s, nil
		}
	}
	side, err := openSide(ctx, q.a, to.Sink, to.Schema)
	if err != nil {
		return nil, err
	}
	s := &badSink{sideOutput: side, to: to, b: array.NewRecordBuilder(q.a.env.Alloc, physical.QuarantineSchema)}
	q.open = append(q.open, s)
	return s, nil
}

// append puts a row into the builder.
func (s *badSink) append(a *attempt, row batch.BadRow) {
	spec := &a.tc.Spec
	text := func(col int, v string) {
		if v == "" {
			s.b.Field(col).AppendNull()
			return
		}
		s.b.Field(col).(*array.StringBuilder).Append(v)
	}
	number := func(col int, v int64, ok bool) {
		if !ok {
			s.b.Field(col).AppendNull()
			return
		}
		s.b.Field(col).(*array.Int64Builder).Append(v)
	}
	text(physical.BadID, badID(spec.Task, s.seq, row))
	s.b.Field(physical.BadAt).(*array.TimestampBuilder).Append(arrow.Timestamp(spec.Now))
	text(physical.BadQuery, a.t.plan.Name)
	number(physical.BadBatch, int64(spec.Task.Batch), true)
	text(physical.BadSource, row.Table)
	text(physical.BadFile, row.File)
	number(physical.BadLine, row.Line, row.Line > 0)
	number(physical.BadOffset, row.Offset, row.Offset >= 0)
	text(physical.BadReason, row.Reason)
	s.b.Field(physical.BadRaw).(*array.BinaryBuilder).Append(row.Raw)
	s.held++
	s.seq++
	s.bytes += len(row.Raw) + len(row.Reason) + 128
}

// badID names a bad row for ever: by where it was read, or by its batch and task.
func badID(t batch.TaskID, seq int64, row batch.BadRow) string {
	b := append([]byte(row.File), 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(row.Offset))
	for _, n := range []int64{int64(t.Batch), int64(t.Stage), int64(t.Partition), seq} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	h := xxh3.Hash128(append(b, row.Raw...)).Bytes()
	return hex.EncodeToString(h[:])
}

// flush hands the rows in hand to the sink.
func (s *badSink) flush(ctx context.Context) error {
	if s.held == 0 {
		return nil
	}
	all := s.b.NewRecordBatch()
	defer all.Release()
	s.held, s.bytes = 0, 0
	cols := make([]arrow.Array, len(s.to.Columns))
	for i, c := range s.to.Columns {
		cols[i] = all.Column(c)
	}
	rec := array.NewRecordBatch(s.to.Schema, cols, all.NumRows())
	defer rec.Release()
	return s.write(ctx, rec)
}

// finish prepares the bad rows of the task.
func (q *quarantine) finish(ctx context.Context, res *batch.TaskResult) error {
	if q == nil {
		return nil
	}
	for _, s := range q.open {
		if err := s.flush(ctx); err != nil {
			return err
		}
		s.b.Release()
		s.b = nil
		if err := s.prepare(ctx, res); err != nil {
			return err
		}
	}
	return nil
}

func (q *quarantine) discard() {
	if q == nil {
		return
	}
	for _, s := range q.open {
		s.discard()
		if s.b != nil {
			s.b.Release()
		}
	}
	q.open = nil
}
