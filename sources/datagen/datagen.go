package datagen

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/sources"
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
			return &source{spec: spec, config: config, clock: c}, nil
		},
		NewOpener: func(spec sources.Spec) (sources.Opener, error) {
			config, err := parse(spec)
			if err != nil {
				return nil, err
			}
			return &opener{spec: spec, config: config}, nil
		},
		Unbounded: func(spec sources.Spec) bool {
			config, err := parse(spec)
			return spec.Stream || err != nil || !config.bounded
		},
	}
}

// source is the driver's half. An offset is the number of rows before it.
type source struct {
	spec   sources.Spec
	config config
	clock  clock.Clock

	// pace is where real time was tied to the rows: at the first question after a
	// start. Rows that fell due while the query was down are not made up for.
	pace struct {
		sync.Mutex
		set  bool
		from int64
		at   time.Time
	}
}

var (
	_ sources.Source  = (*source)(nil)
	_ sources.Bounded = (*source)(nil)
)

func (s *source) Schema() *arrow.Schema { return s.spec.Schema }

func (s *source) Latest(_ context.Context, from batch.Offset, limit sources.Limit) (batch.Offset, error) {
	n, err := s.position(from)
	if err != nil {
		return "", err
	}
	end := s.config.rows
	if s.spec.Stream {
		end = min(end, n+s.config.trigger)
	}
	if limit.Rows > 0 {
		end = min(end, n+limit.Rows)
	}
	if limit.Bytes > 0 {
		end = min(end, n+max(limit.Bytes/s.config.bytes, 1))
	}
	if s.config.rate > 0 && s.spec.Stream {
		end = min(end, s.due(n))
	}
	if end <= n {
		return from, nil
	}
	return batch.Offset(strconv.FormatInt(end, 10)), nil
}

// due returns how many rows may be there by the wall clock.
func (s *source) due(n int64) int64 {
	now := s.clock.Now()
	s.pace.Lock()
	defer s.pace.Unlock()
	if !s.pace.set {
		s.pace.set, s.pace.from, s.pace.at = true, n, now
	}
	return s.pace.from + min(int64(now.Sub(s.pace.at).Seconds()*float64(s.config.rate)), maxRows)
}

func parseRow(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > maxRows {
		return 0, fmt.Errorf("%q is no row number", s)
	}
	return n, nil
}

func (s *source) position(o batch.Offset) (int64, error) {
	if o == "" {
		return 0, nil
	}
	n, err := parseRow(string(o))
	if err != nil {
		return 0, fmt.Errorf("offset of %s: %w", s.spec, err)
	}
	if n > s.config.rows {
		return 0, batch.UserErrorf("%s: the query has read %d rows, now the table ends after %d", s.spec, n, s.config.rows)
	}
	return n, nil
}

func (s *source) Plan(_ context.Context, r batch.Range) ([]batch.Split, error) {
	from, err := s.position(r.Start)
	if err != nil {
		return nil, err
	}
	end, err := s.position(r.End)
	if err != nil {
		return nil, err
	}
	var splits []batch.Split
	for from < end {
		to := min((from/s.config.split+1)*s.config.split, end)
		splits = append(splits, batch.Split{
			Source: r.Source, Index: len(splits), Payload: fmt.Appendf(nil, "%d %d", from, to),
			Rows: to - from, Bytes: (to - from) * s.config.bytes,
		})
		from = to
	}
	return splits, nil
}

// Release has nothing to throw away: every row can be made again.
func (s *source) Release(_ context.Context, to batch.Offset) error {
	_, err := s.position(to)
	return err
}

func (s *source) Ended(at batch.Offset) bool {
	n, err := s.position(at)
	return err == nil && n >= s.config.rows
}

func (s *source) Close() error { return nil }

// opener is the worker's half.
type opener struct {
	spec   sources.Spec
	config config
}

var _ sources.Opener = (*opener)(nil)

func (o *opener) Open(_ context.Context, s batch.Split, columns []int, alloc memory.Allocator) (sources.Reader, error) {
	first, second, _ := strings.Cut(string(s.Payload), " ")
	from, err := parseRow(first)
	end, err2 := parseRow(second)
	if err != nil || err2 != nil || from > end {
		return nil, fmt.Errorf("open split %d of %s: %q is no range of rows", s.Index, o.spec, s.Payload)
	}
	r := &reader{schema: o.spec.Schema, columns: o.config.columns, alloc: alloc, next: from, end: end}
	if columns == nil {
		return r, nil
	}
	fields := make([]arrow.Field, len(columns))
	r.columns = make([]column, len(columns))
	for i, c := range columns {
		if c < 0 || c >= len(o.config.columns) {
			return nil, fmt.Errorf("open split %d of %s: there is no column %d", s.Index, o.spec, c)
		}
		fields[i], r.columns[i] = o.spec.Schema.Field(c), o.config.columns[c]
	}
	r.schema = arrow.NewSchema(fields, nil)
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
