package kafka

import (
	"context"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats/builders"
	"github.com/sluice-stream/sluice/formats/codecs"
)

// values decodes messages into the columns that are not the connector's metadata. Of a
// message with an error, rows says how many are there all the same.
type values interface {
	decode(ctx context.Context, m *message) (rows int, err error)
	Rows() int
	Flush() arrow.RecordBatch
	Release()
}

// decoder makes rows of messages. It is used by one goroutine.
type decoder struct {
	schema *arrow.Schema
	values values
	from   []int // of each column: its place among the values, or -1
	meta   []metaColumn
}

func newDecoder(t *table, columns []int, alloc memory.Allocator) (*decoder, error) {
	if columns == nil {
		columns = make([]int, t.schema.NumFields())
		for i := range columns {
			columns[i] = i
		}
	}
	d := &decoder{}
	var fields, own []arrow.Field
	envelope := map[int]string{} // metadata that is in the value
	for i, c := range columns {
		f := arrow.Field{Name: batch.OpColumn, Type: arrow.PrimitiveTypes.Int8}
		switch {
		case c >= 0 && c < t.schema.NumFields():
			f = t.schema.Field(c)
		case c == t.schema.NumFields() && t.changes != batch.OnlyGrows:
		default:
			d.releaseMeta()
			return nil, fmt.Errorf("there is no column %d", c)
		}
		fields = append(fields, f)
		key, is := t.meta[c]
		if _, ours := metaTypes[key]; is && ours {
			d.from = append(d.from, -1)
			d.meta = append(d.meta, newMetaColumn(i, key, f.Type, alloc))
			continue
		}
		if is {
			envelope[len(own)] = key
		}
		d.from = append(d.from, len(own))
		own = append(own, f)
	}
	d.schema = arrow.NewSchema(fields, nil)
	var err error
	if d.values, err = newValues(t, arrow.NewSchema(own, nil), envelope, alloc); err != nil {
		d.releaseMeta()
		return nil, err
	}
	return d, nil
}

func newValues(t *table, schema *arrow.Schema, envelope map[int]string, alloc memory.Allocator) (values, error) {
	if t.events == nil {
		return newCodecValues(t, schema, alloc)
	}
	d, err := t.events.NewDecoder(schema, envelope, t.changes == batch.Upserts, alloc)
	if err != nil {
		return nil, err
	}
	return eventValues{d}, nil
}

// eventValues are the rows of messages that tell of changes.
type eventValues struct{ codecs.ChangesDecoder }

func (v eventValues) decode(ctx context.Context, m *message) (int, error) {
	return v.Decode(ctx, m.key, m.value)
}

// add appends the rows of a message.
func (d *decoder) add(ctx context.Context, m *message) (rows int, err error) {
	rows, err = d.values.decode(ctx, m)
	for range rows {
		for i := range d.meta {
			if merr := d.meta[i].append(m); merr != nil && err == nil {
				err = merr
			}
		}
	}
	return rows, err
}

func (d *decoder) Rows() int { return d.values.Rows() }

// Flush returns the rows so far; the caller owns the batch.
func (d *decoder) Flush() arrow.RecordBatch {
	var beside []builders.Beside
	for i := range d.meta {
		beside = append(beside, builders.Beside{At: d.meta[i].at, B: d.meta[i].b})
	}
	return builders.Join(d.schema, d.from, d.values.Flush(), beside...)
}

// Release throws away what was not flushed.
func (d *decoder) Release() {
	d.values.Release()
	d.releaseMeta()
}

func (d *decoder) releaseMeta() {
	for i := range d.meta {
		d.meta[i].b.Release()
	}
}

// appendText appends bytes, or a text; NULL for none and for what is no text.
func appendText(b array.Builder, v []byte) error {
	if v == nil {
		b.AppendNull()
		return nil
	}
	switch b := b.(type) {
	case *array.StringBuilder:
		if !utf8.Valid(v) {
			b.AppendNull()
			return fmt.Errorf("%.40q is not valid UTF-8", v)
		}
		b.BinaryBuilder.Append(v)
	case *array.BinaryBuilder:
		b.Append(v)
	default:
		b.AppendNull()
	}
	return nil
}

// metaColumn is a column of the connector's metadata.
type metaColumn struct {
	at  int
	key string
	b   array.Builder
	all []header // of the message in hand
}

func newMetaColumn(at int, key string, dt arrow.DataType, alloc memory.Allocator) metaColumn {
	return metaColumn{at: at, key: key, b: array.NewBuilder(alloc, dt)}
}

func (c *metaColumn) append(m *message) error {
	switch c.key {
	case metaTopic:
		c.b.(*array.StringBuilder).Append(m.lane.topic)
	case metaPartition:
		c.b.(*array.Int32Builder).Append(m.lane.part)
	case metaOffset:
		c.b.(*array.Int64Builder).Append(m.offset)
	case metaTime:
		c.b.(*array.TimestampBuilder).Append(arrow.Timestamp(m.millis * 1000))
	case metaTimeType:
		name := "CreateTime"
		if m.appended {
			name = "LogAppendTime"
		}
		c.b.(*array.StringBuilder).Append(name)
	case metaKey:
		if err := appendText(c.b, m.key); err != nil {
			return fmt.Errorf("the key %w", err)
		}
	case metaHeaders:
		return c.headers(m)
	}
	return nil
}

// headers appends a map, in which the last of equal keys counts.
func (c *metaColumn) headers(m *message) error {
	b := c.b.(*array.MapBuilder)
	b.Append(true)
	c.all = c.all[:0]
	err := m.eachHeader(func(key string, value []byte) {
		c.all = slices.DeleteFunc(c.all, func(h header) bool { return h.key == key })
		c.all = append(c.all, header{key, value})
	})
	for _, h := range c.all {
		b.KeyBuilder().(*array.StringBuilder).Append(h.key)
		if e := appendText(b.ItemBuilder(), h.value); e != nil && err == nil {
			err = fmt.Errorf("header %q: %w", h.key, e)
		}
	}
	return err
}

type header struct {
	key   string
	value []byte
}
