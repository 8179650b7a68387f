package rate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/sources"
)

var (
	optRate    = options.Option{Key: "rows-per-second", Kind: options.Int, Default: "1", Doc: "Rows per second."}
	optRamp    = options.Option{Key: "ramp-up-time", Kind: options.Duration, Default: "0s", Doc: "Time over which the rate rises from zero."}
	optTrigger = options.Option{Key: "max-rows-per-trigger", Kind: options.Int, Default: "10000000", Doc: "Most rows in one micro-batch."}
	declared   = []options.Option{optRate, optRamp, optTrigger}
)

var fullSchema = arrow.NewSchema([]arrow.Field{
	{Name: "timestamp", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, Nullable: true},
	{Name: "value", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
}, nil)

// splitRows and recordRows are the units of parallel work and of reading.
const (
	splitRows  = 1 << 16
	recordRows = 8192
)

// Connector returns the connector, which reads the time from c.
func Connector(c clock.Clock) sources.Connector {
	return sources.Connector{
		Name:    "rate",
		Doc:     "Rows with a timestamp and a counting value, so many a second.",
		Options: declared,
		Infer: func(_ context.Context, spec sources.Spec) (*arrow.Schema, error) {
			_, schema, err := parse(spec)
			return schema, err
		},
		New: func(_ context.Context, spec sources.Spec) (sources.Source, error) {
			line, schema, err := parse(spec)
			if err != nil {
				return nil, err
			}
			return &source{
				spec: spec, schema: schema, line: line, clock: c,
				trigger: spec.Options.Int(optTrigger), start: c.Now().UnixMicro(),
			}, nil
		},
		NewOpener: func(spec sources.Spec) (sources.Opener, error) {
			line, schema, err := parse(spec)
			if err != nil {
				return nil, err
			}
			return &opener{spec: spec, schema: schema, line: line}, nil
		},
		Rewinds:   true,
		Unbounded: func(sources.Spec) bool { return true },
	}
}

func parse(spec sources.Spec) (timeline, *arrow.Schema, error) {
	m := spec.Options
	if err := options.Check(spec.String(), m, declared); err != nil {
		return timeline{}, nil, err
	}
	l := timeline{rate: m.Int(optRate), ramp: m.Duration(optRamp).Microseconds()}
	switch {
	case l.rate < 1 || l.rate > maxRate:
		return l, nil, batch.UserErrorf("%s: option '%s' = '%d': want 1 to %d", spec, optRate.Key, l.rate, maxRate)
	case l.ramp < 0:
		return l, nil, batch.UserErrorf("%s: option '%s' = '%s' is negative", spec, optRamp.Key, m.Get(optRamp))
	case m.Int(optTrigger) < 1:
		return l, nil, batch.UserErrorf("%s: option '%s' = '%s': want at least 1", spec, optTrigger.Key, m.Get(optTrigger))
	case !spec.Stream:
		return l, nil, batch.UserErrorf("%s: the connector 'rate' never ends, and this query reads all of it; use 'datagen' with 'number-of-rows'", spec)
	case spec.Schema == nil:
		return l, fullSchema, nil
	}
	for _, f := range spec.Schema.Fields() {
		i := columnNamed(f.Name)
		if i < 0 {
			return l, nil, batch.UserErrorf("%s: the connector 'rate' has no column %q%s", spec, f.Name, options.Suggest(f.Name, []string{"timestamp", "value"}))
		}
		ts, isTime := f.Type.(*arrow.TimestampType)
		if want := fullSchema.Field(i).Type; !arrow.TypeEqual(f.Type, want) && (i != 0 || !isTime || ts.Unit != arrow.Microsecond) {
			return l, nil, batch.UserErrorf("%s: column %q is declared %s, the connector 'rate' has %s", spec, f.Name, f.Type, want)
		}
	}
	return l, spec.Schema, nil
}

// columnNamed returns 0 for timestamp, 1 for value, else -1.
func columnNamed(name string) int {
	for i, f := range fullSchema.Fields() {
		if strings.EqualFold(f.Name, name) {
			return i
		}
	}
	return -1
}

// position is an offset: where the query started, and the next value.
type position struct {
	Start int64 `json:"start"` // µs since 1970
	Value int64 `json:"value"`
}

func parsePosition(o batch.Offset) (position, error) {
	var p position
	d := json.NewDecoder(bytes.NewReader([]byte(o)))
	d.DisallowUnknownFields()
	err := d.Decode(&p)
	if err == nil && (p.Value < 0 || p.Value > maxValue || d.More()) {
		err = errors.New("out of range")
	}
	if err != nil {
		return p, fmt.Errorf("%q is no offset of the connector 'rate': %w", o, err)
	}
	return p, nil
}

func (p position) offset() batch.Offset {
	return batch.Offset(fmt.Sprintf(`{"start":%d,"value":%d}`, p.Start, p.Value))
}

// source is the driver's half.
type source struct {
	spec    sources.Spec
	schema  *arrow.Schema
	line    timeline
	clock   clock.Clock
	trigger int64
	start   int64 // µs since 1970, for a query without an offset
}

var _ sources.Source = (*source)(nil)

func (s *source) Schema() *arrow.Schema { return s.schema }

func (s *source) Latest(_ context.Context, from batch.Offset, limit sources.Limit) (batch.Offset, error) {
	p := position{Start: s.start}
	if from != "" {
		var err error
		if p, err = parsePosition(from); err != nil {
			return "", err
		}
	}
	end := min(s.line.due(s.clock.Now().UnixMicro()-p.Start), p.Value+s.trigger)
	if limit.Rows > 0 {
		end = min(end, p.Value+limit.Rows)
	}
	if limit.Bytes > 0 {
		end = min(end, p.Value+max(limit.Bytes/16, 1))
	}
	if end <= p.Value {
		return from, nil
	}
	p.Value = end
	return p.offset(), nil
}

func (s *source) Plan(_ context.Context, r batch.Range) ([]batch.Split, error) {
	if r.Start == r.End {
		return nil, nil
	}
	end, err := parsePosition(r.End)
	if err != nil {
		return nil, err
	}
	at := position{Start: end.Start}
	if r.Start != "" {
		if at, err = parsePosition(r.Start); err != nil {
			return nil, err
		}
	}
	if at.Start != end.Start {
		return nil, fmt.Errorf("plan %s from %q to %q: the query has two starts", s.spec, r.Start, r.End)
	}
	var splits []batch.Split
	for at.Value < end.Value {
		to := min(at.Value+splitRows, end.Value)
		splits = append(splits, batch.Split{
			Source: r.Source, Index: len(splits), Rows: to - at.Value, Bytes: (to - at.Value) * 16,
			Payload: fmt.Appendf(nil, "%d %d %d", at.Start, at.Value, to),
		})
		at.Value = to
	}
	return splits, nil
}

// Release has nothing to throw away.
func (s *source) Release(context.Context, batch.Offset) error { return nil }

func (s *source) Close() error { return nil }

// opener is the worker's half.
type opener struct {
	spec   sources.Spec
	schema *arrow.Schema
	line   timeline
}

var _ sources.Opener = (*opener)(nil)

func (o *opener) Open(_ context.Context, s batch.Split, columns []int, alloc memory.Allocator) (sources.Reader, error) {
	schema, err := sources.Project(o.schema, columns)
	if err != nil {
		return nil, fmt.Errorf("open split %d of %s: %w", s.Index, o.spec, err)
	}
	r := &reader{line: o.line, schema: schema, alloc: alloc}
	if _, err := fmt.Sscanf(string(s.Payload), "%d %d %d", &r.start, &r.next, &r.end); err != nil || r.next < 0 || r.end > maxValue {
		return nil, fmt.Errorf("open split %d of %s: %q is no range of values", s.Index, o.spec, s.Payload)
	}
	return r, nil
}

type reader struct {
	line             timeline
	schema           *arrow.Schema
	alloc            memory.Allocator
	start, next, end int64
}

var _ sources.Reader = (*reader)(nil)

func (r *reader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.next >= r.end {
		return nil, io.EOF
	}
	n := int(min(recordRows, r.end-r.next))
	cols := make([]arrow.Array, r.schema.NumFields())
	for i, f := range r.schema.Fields() {
		buf := memory.NewResizableBuffer(r.alloc)
		buf.Resize(n * arrow.Int64SizeBytes)
		out := arrow.Int64Traits.CastFromBytes(buf.Bytes())
		isTime := columnNamed(f.Name) == 0
		for j := range out {
			v := r.next + int64(j)
			if isTime {
				v = r.start + r.line.at(v)
			}
			out[j] = v
		}
		data := array.NewData(f.Type, n, []*memory.Buffer{nil, buf}, nil, 0, 0)
		cols[i] = array.MakeFromData(data)
		data.Release()
		buf.Release()
	}
	r.next += int64(n)
	rec := array.NewRecordBatch(r.schema, cols, int64(n))
	for _, c := range cols {
		c.Release()
	}
	return rec, nil
}

func (r *reader) Close() error {
	r.next = r.end
	return nil
}
