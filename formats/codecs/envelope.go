package codecs

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats/avro"
	"github.com/sluice-stream/sluice/formats/builders"
	"github.com/sluice-stream/sluice/formats/debezium"
	"github.com/sluice-stream/sluice/formats/registry"
)

// envelopeName is the format of Debezium's events in Avro, by a registry's schemas.
const envelopeName = "debezium-avro"

// envelope reads the changes of a table as Debezium tells them in Avro. It is made once
// for a table and used by many goroutines.
type envelope struct{ c *avroCodec }

func openEnvelope(s Spec) (Changes, error) {
	if !registry.Set(s.Options) {
		return nil, batch.UserErrorf("%s: 'format' = '%s' needs 'schema-registry.url'", s.What, envelopeName)
	}
	c, err := openAvro(s)
	if err != nil {
		return nil, err
	}
	return &envelope{c.(*avroCodec)}, nil
}

// Infer returns the columns of the table's rows, by the newest schema of the subject.
func (e *envelope) Infer(ctx context.Context) (*arrow.Schema, error) {
	s, err := e.c.atVersion(ctx, e.c.version)
	if err != nil {
		return nil, err
	}
	s, _ = s.Nullable()
	for _, f := range s.Fields {
		if f.Name == "after" {
			row, _ := f.Schema.Nullable()
			return avro.Columns(row, "value")
		}
	}
	return nil, batch.UserErrorf("%s: its schema is %s, which is no event of Debezium: it has no \"after\"", e.c.s.What, s)
}

func (e *envelope) NewDecoder(schema *arrow.Schema, meta map[int]string, upsert bool, alloc memory.Allocator) (ChangesDecoder, error) {
	d := &envelopeDecoder{c: e.c, schema: schema, upsert: upsert, opAt: -1, ops: array.NewInt8Builder(alloc), kinds: map[*avro.Schema]*eventKind{}}
	var fields []arrow.Field
	for i, f := range schema.Fields() {
		d.from = append(d.from, -1)
		key, isMeta := meta[i]
		switch {
		case f.Name == batch.OpColumn:
			d.opAt = i
		case isMeta:
			d.meta = append(d.meta, eventMeta{at: i, key: key, b: array.NewBuilder(alloc, f.Type)})
		default:
			d.from[i] = len(fields)
			fields = append(fields, f)
		}
	}
	d.rows = avro.NewDecoder(arrow.NewSchema(fields, nil), avro.DecoderOptions{Reader: e.c.own, Lenient: e.c.s.lenient(), Alloc: alloc})
	return d, nil
}

// envelopeDecoder makes changes of events. It is used by one goroutine.
type envelopeDecoder struct {
	c      *avroCodec
	schema *arrow.Schema
	rows   *avro.Decoder
	from   []int // of each column of the schema: its place in rows, or -1
	ops    *array.Int8Builder
	opAt   int
	meta   []eventMeta
	upsert bool
	kinds  map[*avro.Schema]*eventKind
	parts  [][]byte
	source [][]byte
}

// eventKind says where an event's parts are in its record; -1 is nowhere.
type eventKind struct {
	s                               *avro.Schema
	before, after, op, source, time int
}

func kindOf(s *avro.Schema) *eventKind {
	s, _ = s.Nullable()
	k := &eventKind{s: s, before: -1, after: -1, op: -1, source: -1, time: -1}
	for i, f := range s.Fields {
		switch f.Name {
		case "before":
			k.before = i
		case "after":
			k.after = i
		case "op":
			k.op = i
		case "source":
			k.source = i
		case "ts_ms":
			k.time = i
		}
	}
	return k
}

var errNoEvent = errors.New("it is no event of Debezium: its schema has no \"op\", \"before\" and \"after\"")

// Decode appends the changes of an event. A message without a value is a tombstone, and
// does nothing.
func (d *envelopeDecoder) Decode(ctx context.Context, key, value []byte) (rows int, err error) {
	if len(value) == 0 {
		return 0, nil
	}
	id, rest, err := registry.Head(value)
	if err != nil {
		return 0, err
	}
	s, err := d.c.schema(ctx, id)
	if err != nil {
		return 0, err
	}
	if rows, err = d.event(ctx, s, key, rest); err != nil {
		err = fmt.Errorf("%s: %w", d.c.s.schemaName(d.c.client, id), err)
	}
	return rows, err
}

func (d *envelopeDecoder) event(ctx context.Context, s *avro.Schema, key, b []byte) (rows int, err error) {
	k := d.kinds[s]
	if k == nil {
		if len(d.kinds) >= maxParsed {
			clear(d.kinds)
		}
		k = kindOf(s)
		d.kinds[s] = k
	}
	if k.op < 0 || k.before < 0 || k.after < 0 {
		return 0, errNoEvent
	}
	if s.Kind == avro.Union {
		inner, rest, null := avro.Some(s, b)
		if null || inner != k.s {
			return 0, nil
		}
		b = rest
	}
	if d.parts, err = avro.Parts(k.s, b, d.parts); err != nil {
		return 0, err
	}
	has := func(i int) bool {
		_, _, null := avro.Some(k.s.Fields[i].Schema, d.parts[i])
		return !null
	}
	op, _ := avro.TextOf(k.s.Fields[k.op].Schema, d.parts[k.op])
	all, n, err := debezium.ChangesOf(op, has(k.before), has(k.after), len(key) > 0, d.upsert)
	if err != nil {
		return 0, err
	}
	for _, c := range all[:n] {
		var more int
		switch c.Row {
		case debezium.Before:
			more, err = d.row(k, c.Op, k.s.Fields[k.before].Schema, d.parts[k.before])
		case debezium.After:
			more, err = d.row(k, c.Op, k.s.Fields[k.after].Schema, d.parts[k.after])
		default:
			var id int32
			var rest []byte
			var w *avro.Schema
			if id, rest, err = registry.Head(key); err == nil {
				w, err = d.c.schema(ctx, id)
			}
			if err == nil {
				more, err = d.row(k, c.Op, w, rest)
			}
			if err != nil {
				err = fmt.Errorf("the key: %w", err)
			}
		}
		if rows += more; err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// row appends a row with its kind of change and what the event tells besides.
func (d *envelopeDecoder) row(k *eventKind, op batch.Op, s *avro.Schema, b []byte) (rows int, err error) {
	_, rows, err = d.rows.Append(s, b)
	if rows == 1 && d.c.s.nulls() {
		err = nil
	}
	for range rows {
		d.ops.Append(int8(op))
		for i := range d.meta {
			if merr := d.meta[i].append(d, k); err == nil {
				err = merr
			}
		}
	}
	return rows, err
}

// eventMeta is a column that an event tells besides its rows.
type eventMeta struct {
	at  int
	key string
	b   array.Builder
}

// metaSource are the fields of an event's source that are columns of their own.
var metaSource = map[string]string{"value.source.timestamp": "ts_ms", "value.source.database": "db", "value.source.schema": "schema", "value.source.table": "table"}

func (m *eventMeta) append(d *envelopeDecoder, k *eventKind) error {
	var text string
	var ok bool
	switch name := metaSource[m.key]; {
	case m.key == "value.source.properties":
		return m.properties(d, k)
	case m.key == "value.schema":
		text, ok = k.s.Text(), true
	case m.key == "value.ingestion-timestamp" && k.time >= 0:
		text, ok = avro.TextOf(k.s.Fields[k.time].Schema, d.parts[k.time])
	case name != "":
		d.eachSource(k, func(field, value string, some bool) {
			if field == name {
				text, ok = value, some
			}
		})
	}
	if !ok {
		m.b.AppendNull()
		return nil
	}
	switch b := m.b.(type) {
	case *array.StringBuilder:
		b.Append(text)
	case *array.TimestampBuilder:
		ms, err := strconv.ParseInt(text, 10, 64)
		if err != nil || ms > 1<<53 || ms < -1<<53 {
			b.AppendNull()
			return fmt.Errorf("metadata '%s': cannot read %q as milliseconds", m.key, text)
		}
		b.Append(arrow.Timestamp(ms * 1000))
	default:
		b.AppendNull()
	}
	return nil
}

// eachSource visits the fields of an event's source as texts.
func (d *envelopeDecoder) eachSource(k *eventKind, visit func(field, value string, some bool)) {
	if k.source < 0 {
		return
	}
	s, b, null := avro.Some(k.s.Fields[k.source].Schema, d.parts[k.source])
	if null {
		return
	}
	var err error
	if d.source, err = avro.Parts(s, b, d.source); err != nil {
		return // it was checked, so it is no record
	}
	for i, f := range s.Fields {
		text, ok := avro.TextOf(f.Schema, d.source[i])
		visit(f.Name, text, ok)
	}
}

func (m *eventMeta) properties(d *envelopeDecoder, k *eventKind) error {
	b, ok := m.b.(*array.MapBuilder)
	if !ok || k.source < 0 {
		m.b.AppendNull()
		return nil
	}
	b.Append(true)
	d.eachSource(k, func(field, value string, some bool) {
		b.KeyBuilder().(*array.StringBuilder).Append(field)
		if some {
			b.ItemBuilder().(*array.StringBuilder).Append(value)
		} else {
			b.ItemBuilder().AppendNull()
		}
	})
	return nil
}

// Rows returns the number of rows since the last Flush.
func (d *envelopeDecoder) Rows() int { return d.rows.Rows() }

// Flush returns the rows so far; the caller owns the batch.
func (d *envelopeDecoder) Flush() arrow.RecordBatch {
	beside := []builders.Beside{{At: d.opAt, B: d.ops}}
	for i := range d.meta {
		beside = append(beside, builders.Beside{At: d.meta[i].at, B: d.meta[i].b})
	}
	return builders.Join(d.schema, d.from, d.rows.Flush(), beside...)
}

// Release throws away what was not flushed.
func (d *envelopeDecoder) Release() {
	d.rows.Release()
	d.ops.Release()
	for i := range d.meta {
		d.meta[i].b.Release()
	}
}
