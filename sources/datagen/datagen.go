package datagen

import (
	"context"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/sources/counted"
)

// Connector returns the connector; c paces a table with 'rows-per-second'.
func Connector(c clock.Clock) sources.Connector {
	return sources.Connector{
		Name:    "datagen",
		Doc:     "Rows drawn at random or counted up, the same for the same options.",
		Options: declared,
		Infer: func(_ context.Context, spec sources.Spec) (*arrow.Schema, error) {
			_, err := parse(spec)
			return spec.Schema, err
		},
		New: func(_ context.Context, spec sources.Spec) (sources.Source, error) {
			config, err := parse(spec)
			if err != nil {
				return nil, err
			}
			return counted.New(counted.Table{
				Spec: spec, Schema: spec.Schema, Unit: "row", Rows: config.rows, Limit: maxRows, Split: config.split,
				Trigger: config.trigger, PerSecond: config.rate, Clock: c, RowBytes: config.bytes,
			}), nil
		},
		NewOpener: func(spec sources.Spec) (sources.Opener, error) {
			config, err := parse(spec)
			if err != nil {
				return nil, err
			}
			return &opener{spec: spec, config: config}, nil
		},
		Rewinds: true,
		Unbounded: func(spec sources.Spec) bool {
			config, err := parse(spec)
			return spec.Stream || err != nil || !config.bounded
		},
	}
}

// opener is the worker's half.
type opener struct {
	spec   sources.Spec
	config config
}

var _ sources.Opener = (*opener)(nil)

func (o *opener) Open(_ context.Context, s batch.Split, columns []int, alloc memory.Allocator) (sources.Reader, error) {
	from, end, err := counted.Rows(s.Payload, maxRows)
	if err != nil {
		return nil, fmt.Errorf("open split %d of %s: %w", s.Index, o.spec, err)
	}
	schema, err := sources.Project(o.spec.Schema, columns)
	if err != nil {
		return nil, fmt.Errorf("open split %d of %s: %w", s.Index, o.spec, err)
	}
	r := &reader{schema: schema, columns: o.config.columns, alloc: alloc, next: from, end: end}
	if columns != nil {
		r.columns = make([]column, len(columns))
		for i, c := range columns {
			r.columns[i] = o.config.columns[c]
		}
	}
	return r, nil
}

// recordBytes bounds a record batch by what its rows take on average.
const (
	recordRows  = 8192
	recordBytes = 8 << 20
)

type reader struct {
	schema    *arrow.Schema
	columns   []column
	alloc     memory.Allocator
	next, end int64
}

var _ sources.Reader = (*reader)(nil)

func (r *reader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.next >= r.end {
		return nil, io.EOF
	}
	bytes := int64(1)
	for i := range r.columns {
		bytes += r.columns[i].bytes
	}
	to := min(r.next+min(recordRows, max(recordBytes/bytes, 1)), r.end)
	cols := make([]arrow.Array, len(r.columns))
	for i := range r.columns {
		cols[i] = r.columns[i].build(r.alloc, r.next, to)
	}
	rec := array.NewRecordBatch(r.schema, cols, to-r.next)
	for _, c := range cols {
		c.Release()
	}
	r.next = to
	return rec, nil
}

func (r *reader) Close() error {
	r.next = r.end
	return nil
}

// build makes the values of rows [from, to).
func (c *column) build(alloc memory.Allocator, from, to int64) arrow.Array {
	b := array.NewBuilder(alloc, c.field.Type)
	defer b.Release()
	n := int(to - from)
	b.Reserve(n)
	if text, ok := b.(interface{ ReserveData(int) }); ok {
		text.ReserveData(n * c.buffer)
	}
	for row := from; row < to; row++ {
		d := mix(c.seed + uint64(row)*golden)
		if c.nulls > 0 && mix(d+golden)>>11 < c.nulls {
			b.AppendNull()
			continue
		}
		c.value(b, row, draw(d))
	}
	return b.NewArray()
}
