package socket

import (
	"context"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sources"
)

// opener is the worker's half.
type opener struct {
	spec   sources.Spec
	schema *arrow.Schema
}

var _ sources.Opener = (*opener)(nil)

func (o *opener) Open(_ context.Context, s batch.Split, columns []int, alloc memory.Allocator) (sources.Reader, error) {
	_, lines, err := parseLines(s.Payload)
	if err != nil {
		return nil, fmt.Errorf("open split %d of %s: its lines are %w", s.Index, o.spec, err)
	}
	schema, err := sources.Project(o.schema, columns)
	if err != nil {
		return nil, fmt.Errorf("open split %d of %s: %w", s.Index, o.spec, err)
	}
	return &reader{schema: schema, lines: lines, alloc: alloc}, nil
}

// reader returns the lines of a split as one record batch.
type reader struct {
	schema *arrow.Schema
	lines  []line
	alloc  memory.Allocator
}

var _ sources.Reader = (*reader)(nil)

func (r *reader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(r.lines) == 0 {
		return nil, io.EOF
	}
	cols := make([]arrow.Array, r.schema.NumFields())
	for i, f := range r.schema.Fields() {
		cols[i] = r.column(f.Type)
	}
	rec := array.NewRecordBatch(r.schema, cols, int64(len(r.lines)))
	for _, c := range cols {
		c.Release()
	}
	r.lines = nil
	return rec, nil
}

func (r *reader) column(dt arrow.DataType) arrow.Array {
	if ts, ok := dt.(*arrow.TimestampType); ok {
		b := array.NewTimestampBuilder(r.alloc, ts)
		defer b.Release()
		b.Reserve(len(r.lines))
		for _, l := range r.lines {
			b.UnsafeAppend(arrow.Timestamp(l.at))
		}
		return b.NewArray()
	}
	b := array.NewStringBuilder(r.alloc)
	defer b.Release()
	b.Reserve(len(r.lines))
	size := 0
	for _, l := range r.lines {
		size += len(l.text)
	}
	b.ReserveData(size)
	for _, l := range r.lines {
		b.Append(l.text)
	}
	return b.NewArray()
}

func (r *reader) Close() error {
	r.lines = nil
	return nil
}
