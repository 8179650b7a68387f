package executor

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sources"
)

// union reads its inputs one after the other.
type union struct {
	base
	at int
}

func newUnion(n *physical.Union, in []Operator) *union {
	return &union{base: base{node: n, in: in}}
}

func (u *union) Open(ctx context.Context, tc *TaskContext) error {
	u.at = 0
	return u.base.Open(ctx, tc)
}

func (u *union) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for u.at < len(u.in) {
		rec, err := u.in[u.at].Next(ctx)
		if err == io.EOF {
			u.at++
			continue
		}
		if err != nil {
			return nil, err
		}
		defer rec.Release()
		return relabel(rec, u.Schema()), nil
	}
	return nil, io.EOF
}

// limit stops reading once it has what it needs.
type limit struct {
	base
	n          *physical.Limit
	skip, left int64
}

func newLimit(n *physical.Limit, in Operator) *limit {
	return &limit{base: base{node: n, in: []Operator{in}}, n: n}
}

func (l *limit) Open(ctx context.Context, tc *TaskContext) error {
	l.skip, l.left = l.n.Offset, l.n.Count
	return l.base.Open(ctx, tc)
}

func (l *limit) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for l.left != 0 {
		rec, err := l.in[0].Next(ctx)
		if err != nil {
			return nil, err
		}
		n := rec.NumRows()
		first := min(l.skip, n)
		l.skip -= first
		end := n
		if l.left > 0 {
			end = first + min(n-first, l.left)
			l.left -= end - first
		}
		if first == 0 && end == n {
			return rec, nil
		}
		out := rec.NewSlice(first, end)
		rec.Release()
		if end > first {
			return out, nil
		}
		out.Release()
	}
	return nil, io.EOF
}

// exchangeRead reads what an earlier stage wrote for this task.
type exchangeRead struct {
	base
	n      *physical.ExchangeRead
	reader sources.Reader
	done   bool
	// sub of subs says which part of the task's rows is read; subs 0 is all.
	sub, subs int
}

func newExchangeRead(n *physical.ExchangeRead) *exchangeRead {
	return &exchangeRead{base: base{node: n}, n: n}
}

func (e *exchangeRead) Open(ctx context.Context, tc *TaskContext) error {
	e.done, e.sub, e.subs = false, 0, 0
	return errors.Join(e.closeReader(), e.base.Open(ctx, tc))
}

// held is exchange's Held of what is to be read, before anything is.
func (e *exchangeRead) held(ctx context.Context) (rows int64, parted bool, err error) {
	if err := e.openReader(ctx); err != nil || e.tc.FetchPart == nil {
		return 0, false, err
	}
	if h, ok := e.reader.(interface{ Held() (int64, bool) }); ok {
		rows, parted = h.Held()
	}
	return rows, parted, nil
}

// readPart starts reading part sub of subs of the task's rows, by key group. All
// parts together are what reading without parts gives; of one key group the rows
// are in one part and in the same order.
func (e *exchangeRead) readPart(sub, subs int) error {
	e.done, e.sub, e.subs = false, sub, subs
	return e.closeReader()
}

func (e *exchangeRead) openReader(ctx context.Context) error {
	if e.reader != nil {
		return nil
	}
	in, err := e.input(&e.tc.Spec)
	if err != nil {
		return err
	}
	if e.subs > 0 {
		e.reader, err = e.tc.FetchPart(ctx, in, e.sub, e.subs)
	} else {
		e.reader, err = e.tc.Fetch(ctx, in)
	}
	if err != nil {
		return fmt.Errorf("fetch the output of stage %d for task %s: %w", e.n.Stage, e.tc.Spec.Task, err)
	}
	return nil
}

// input finds where the stage's output lies.
func (e *exchangeRead) input(spec *batch.TaskSpec) (batch.Input, error) {
	for _, in := range spec.Inputs {
		if in.Stage == e.n.Stage {
			return in, nil
		}
	}
	return batch.Input{}, fmt.Errorf("task %s is not told where the output of stage %d lies", spec.Task, e.n.Stage)
}

func (e *exchangeRead) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if e.done {
		return nil, io.EOF
	}
	if err := e.openReader(ctx); err != nil {
		return nil, err
	}
	rec, err := e.reader.Next(ctx)
	if err == io.EOF {
		e.done = true
		if err := e.closeReader(); err != nil {
			return nil, err
		}
		return nil, io.EOF
	}
	if err != nil {
		return nil, fmt.Errorf("read the output of stage %d for task %s: %w", e.n.Stage, e.tc.Spec.Task, err)
	}
	defer rec.Release()
	return relabel(rec, e.n.Out), nil
}

func (e *exchangeRead) closeReader() error {
	if e.reader == nil {
		return nil
	}
	r := e.reader
	e.reader = nil
	return r.Close()
}

func (e *exchangeRead) Close() error { return e.closeReader() }

// appendValue appends row i of arr to a builder of the same type, through the
// stored form of values: for the few rows that are built one by one.
func appendValue(b array.Builder, arr arrow.Array, i int) error {
	codec, err := rowkey.NewValueCodec([]arrow.DataType{arr.DataType()})
	if err != nil {
		return err
	}
	one := array.NewSlice(arr, int64(i), int64(i)+1)
	defer one.Release()
	var rows rowkey.Rows
	if err := codec.Encode([]arrow.Array{one}, 1, &rows); err != nil {
		return err
	}
	return codec.Decode(rows.Row(0), []array.Builder{b})
}
