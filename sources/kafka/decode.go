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
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/debezium"
	"github.com/sluice-stream/sluice/formats/json"
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
	switch t.format {
	case "raw":
		return newRawValues(schema, t.config, alloc), nil
	case debezium.Name:
		d, err := debezium.NewDecoder(formats.ReadSpec{Config: t.config, Schema: schema, Alloc: alloc, Meta: envelope})
		if err != nil {
			return nil, err
		}
		return debeziumValues{d}, nil
	}
	if t.envelope != nil {
		return envelopeValues{t.envelope.NewDecoder(schema, envelope, t.changes == batch.Upserts, alloc)}, nil
	}
	if t.valueCodec != nil {
		return newCodecValues(t, schema, alloc)
	}
	return newJSONValues(t, schema, alloc)
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
	n := int64(d.Rows())
	rec := d.values.Flush()
	defer rec.Release()
	cols := make([]arrow.Array, len(d.from))
	for i, at := range d.from {
		if at >= 0 {
			cols[i] = rec.Column(at)
		}
	}
	for i := range d.meta {
		a := d.meta[i].b.NewArray()
		defer a.Release()
		cols[d.meta[i].at] = a
	}
	return array.NewRecordBatch(d.schema, cols, n)
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

type debeziumValues struct{ *debezium.Decoder }

func (v debeziumValues) decode(_ context.Context, m *message) (int, error) {
	return v.DecodeKeyed(m.key, m.value)
}

// jsonValues are objects; of upserts a message without a value deletes the row of its key.
type jsonValues struct {
	*json.Decoder
	schema *arrow.Schema
	upsert bool
	op     int // column of the kind of change, -1 if nobody asks
	ops    *array.Int8Builder
}

func newJSONValues(t *table, schema *arrow.Schema, alloc memory.Allocator) (values, error) {
	v := &jsonValues{schema: schema, upsert: t.changes == batch.Upserts, op: -1}
	var fields []arrow.Field
	for i, f := range schema.Fields() {
		if f.Name == batch.OpColumn && v.upsert {
			v.op = i
			continue
		}
		fields = append(fields, f)
	}
	var err error
	if v.Decoder, err = json.NewDecoder(arrow.NewSchema(fields, nil), t.config, alloc); err != nil {
		return nil, err
	}
	v.ops = array.NewInt8Builder(alloc)
	return v, nil
}

// noObject is read for a message without a value: all columns are NULL.
var noObject = []byte("{}")

func (v *jsonValues) decode(_ context.Context, m *message) (int, error) {
	text, op := m.value, batch.UpdateAfter
	if text == nil {
		text = noObject
		if v.upsert {
			if text, op = m.key, batch.Delete; text == nil {
				return 0, fmt.Errorf("a message without key and value deletes nothing")
			}
		}
	}
	n, err := v.Decode(text)
	if v.op >= 0 {
		for range n {
			v.ops.Append(int8(op))
		}
	}
	return n, err
}

func (v *jsonValues) Flush() arrow.RecordBatch {
	if v.op < 0 {
		return v.Decoder.Flush()
	}
	n := int64(v.Rows())
	rec := v.Decoder.Flush()
	defer rec.Release()
	ops := v.ops.NewArray()
	defer ops.Release()
	cols := append(append(append([]arrow.Array{}, rec.Columns()[:v.op]...), ops), rec.Columns()[v.op:]...)
	return array.NewRecordBatch(v.schema, cols, n)
}

func (v *jsonValues) Release() {
	v.Decoder.Release()
	v.ops.Release()
}

// rawValues are the bytes of messages as they are.
type rawValues struct {
	schema *arrow.Schema
	b      []array.Builder // none, if nobody asks for the value
	text   bool
	null   bool // text that is no UTF-8 is NULL and not an error
	n      int
}

func newRawValues(schema *arrow.Schema, c formats.Config, alloc memory.Allocator) values {
	v := &rawValues{schema: schema, null: c.Options.Get(formats.BadRows) == "null"}
	for _, f := range schema.Fields() {
		v.text = f.Type.ID() == arrow.STRING
		v.b = append(v.b, array.NewBuilder(alloc, f.Type))
	}
	return v
}

func (v *rawValues) decode(_ context.Context, m *message) (int, error) {
	var err error
	for _, b := range v.b {
		if e := appendText(b, m.value); e != nil && !v.null {
			err = e
		}
	}
	v.n++
	return 1, err
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

func (v *rawValues) Rows() int { return v.n }

func (v *rawValues) Flush() arrow.RecordBatch {
	cols := make([]arrow.Array, len(v.b))
	for i, b := range v.b {
		cols[i] = b.NewArray()
		defer cols[i].Release()
	}
	n := v.n
	v.n = 0
	return array.NewRecordBatch(v.schema, cols, int64(n))
}

func (v *rawValues) Release() {
	for _, b := range v.b {
		b.Release()
	}
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
