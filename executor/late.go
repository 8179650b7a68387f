package executor

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/physical"
)

// lateRows takes the late rows of a task to the table that the query has for them.
type lateRows struct {
	a   *attempt
	to  *physical.LateRows
	out *sideOutput // nil until a row comes
}

// newLateRows is nil for a task whose plan drops late rows.
func newLateRows(a *attempt) *lateRows {
	p := a.t.plan
	if p.Late == nil || !p.Stream || a.t.stage.Static {
		return nil
	}
	return &lateRows{a: a, to: p.Late}
}

// noteLate counts late rows.
func noteLate(tc *TaskContext, operator string, rows int64) {
	tc.Result.Counters.Late += rows
	tc.Result.LateBy = batch.AddLate(tc.Result.LateBy, batch.LateWork{Operator: operator, Rows: rows})
}

// put takes the rows at some positions of a batch, which it borrows. ends is what
// an operator judged of each row of the batch.
func (l *lateRows) put(ctx context.Context, operator string, rec arrow.RecordBatch, ends *array.Timestamp, rows []int32) error {
	if l == nil || len(rows) == 0 {
		return nil
	}
	if l.out == nil {
		var err error
		if l.out, err = openSide(ctx, l.a, l.to.Sink, l.to.Schema); err != nil {
			return err
		}
	}
	late, err := gather.Batch(l.a.env.Alloc, rec, rows)
	if err != nil {
		return err
	}
	defer late.Release()
	cols := make([]arrow.Array, 0, len(l.to.Columns))
	defer func() { gather.Release(cols) }()
	for i, c := range l.to.Columns {
		var col arrow.Array
		if c.Fact < 0 {
			col = l.own(late, c.Name, l.to.Schema.Field(i).Type)
		} else if col, err = l.fact(c.Fact, operator, late, ends, rows); err != nil {
			return err
		}
		cols = append(cols, col)
	}
	out := array.NewRecordBatch(l.to.Schema, cols, late.NumRows())
	defer out.Release()
	return l.out.write(ctx, out)
}

// own is a column of the rows themselves, NULL where they have none of that name.
func (l *lateRows) own(late arrow.RecordBatch, name string, dt arrow.DataType) arrow.Array {
	for i, f := range late.Schema().Fields() {
		if strings.EqualFold(f.Name, name) && arrow.TypeEqual(f.Type, dt) {
			col := late.Column(i)
			col.Retain()
			return col
		}
	}
	return array.MakeArrayOfNull(l.a.env.Alloc, dt, int(late.NumRows()))
}

// fact is a column of what is known about late rows.
func (l *lateRows) fact(fact int, operator string, late arrow.RecordBatch, ends *array.Timestamp, rows []int32) (arrow.Array, error) {
	b := array.NewBuilder(l.a.env.Alloc, physical.LateSchema.Field(fact).Type)
	defer b.Release()
	spec := &l.a.tc.Spec
	var each func(i int)
	switch b := b.(type) {
	case *array.TimestampBuilder:
		each = func(i int) {
			switch {
			case fact == physical.LateAt:
				b.Append(arrow.Timestamp(spec.Now))
			case fact == physical.LateWatermark:
				if spec.Watermark == batch.NoTime {
					b.AppendNull()
					return
				}
				b.Append(arrow.Timestamp(spec.Watermark))
			case ends.IsNull(int(rows[i])):
				b.AppendNull()
			default:
				b.Append(ends.Value(int(rows[i])))
			}
		}
	case *array.Int64Builder:
		each = func(int) { b.Append(int64(spec.Task.Batch)) }
	case *array.StringBuilder:
		text, err := l.text(fact, operator, late)
		if err != nil {
			return nil, err
		}
		each = func(i int) { b.Append(text(i)) }
	default:
		return nil, fmt.Errorf("late rows have no fact of type %s", b.Type())
	}
	for i := range rows {
		each(i)
	}
	return b.NewArray(), nil
}

// text is a fact that is told in words.
func (l *lateRows) text(fact int, operator string, late arrow.RecordBatch) (func(i int) string, error) {
	var same string
	switch fact {
	case physical.LateQuery:
		same = l.a.t.plan.Name
	case physical.LateOperator:
		same = operator
	case physical.LateChange:
		same = batch.Insert.String()
		at := late.Schema().FieldIndices(batch.OpColumn)
		if len(at) == 0 {
			break
		}
		if ops, ok := late.Column(at[0]).(*array.Int8); ok {
			return func(i int) string { return batch.Op(ops.Value(i)).String() }, nil
		}
	case physical.LateRow:
		var text bytes.Buffer
		if err := array.RecordToJSON(late, &text); err != nil {
			return nil, fmt.Errorf("write late rows as JSON: %w", err)
		}
		lines := strings.Split(text.String(), "\n") // a line break within a value is escaped
		return func(i int) string { return lines[i] }, nil
	}
	return func(int) string { return same }, nil
}

// finish prepares the late rows of the task.
func (l *lateRows) finish(ctx context.Context, res *batch.TaskResult) error {
	if l == nil || l.out == nil {
		return nil
	}
	return l.out.prepare(ctx, res)
}

func (l *lateRows) discard() {
	if l != nil && l.out != nil {
		l.out.discard()
	}
}
