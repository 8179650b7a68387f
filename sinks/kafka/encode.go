package kafka

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/codecs"
	"github.com/sluice-stream/sluice/formats/json"
	"github.com/sluice-stream/sluice/formats/text"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sinks/stage"
)

// encoder turns rows into messages.
type encoder struct {
	t          *target
	value, key *json.Encoder
	raw        int
	bufK, bufV []byte
	valueCodec codecs.Encoder // nil for formats with encoders of their own
	keyCodec   codecs.Encoder
	failed     error // of a value or a key that cannot be written
}

func newEncoder(t *target, schema *arrow.Schema) (*encoder, error) {
	e := &encoder{t: t}
	n := t.spec.Schema.NumFields()
	if schema.NumFields() < n {
		return nil, fmt.Errorf("table %q: the rows have %d columns, the table %d", t.spec.Table, schema.NumFields(), n)
	}
	e.value = json.NewEncoder(t.spec.Schema)
	var fields []arrow.Field
	for _, k := range t.keys {
		fields = append(fields, t.spec.Schema.Field(k))
	}
	e.key = json.NewEncoder(arrow.NewSchema(fields, nil))
	var err error
	if t.format == "raw" {
		if e.raw, err = t.rawColumn(); err != nil {
			return nil, err
		}
	}
	if t.value != nil {
		if e.valueCodec, err = t.value.NewEncoder(); err != nil {
			return nil, err
		}
	}
	if t.key != nil {
		if e.keyCodec, err = t.key.NewEncoder(); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// put takes a message; key and value are borrowed. row is for its time.
type put func(key, value []byte, row int) error

// appendTo appends a value's text, or its bytes; nil for NULL.
type appendTo func(dst []byte, row int) []byte

// rows puts the messages of a record batch.
func (e *encoder) rows(ctx context.Context, rec arrow.RecordBatch, out put) error {
	ops, n := stage.Ops(rec)
	if n != e.t.spec.Schema.NumFields() {
		return fmt.Errorf("write table %q: %d columns, it has %d", e.t.spec.Table, n, e.t.spec.Schema.NumFields())
	}
	all := array.NewRecordBatch(e.t.spec.Schema, rec.Columns()[:n], rec.NumRows())
	defer all.Release()
	value, err := e.values(ctx, all)
	if err != nil {
		return err
	}
	key, done, err := e.keys(ctx, all)
	if err != nil {
		return err
	}
	defer done()
	if e.t.format == "debezium-json" {
		return e.changes(ops, int(rec.NumRows()), key, value, out)
	}
	for i := range int(rec.NumRows()) {
		var k, v []byte
		if key != nil {
			e.bufK = key(e.bufK[:0], i)
			k = e.bufK
		}
		op := stage.OpAt(ops, i)
		if key == nil && (op == sinks.UpdateBefore || op == sinks.Delete) {
			return e.t.userError("a row is taken back, and messages have no key by which a reader could tell which: declare a PRIMARY KEY, set 'key-columns', or use output mode changelog with 'format' = 'debezium-json'")
		}
		switch op {
		case sinks.UpdateBefore:
			continue // the row after it takes its place under the same key
		case sinks.Delete: // a tombstone
		default:
			e.bufV = value(e.bufV[:0], i)
			v = e.bufV
		}
		if e.failed != nil {
			return e.failed
		}
		if err := out(k, v, i); err != nil {
			return err
		}
	}
	return nil
}

// values returns what makes the message of a row.
func (e *encoder) values(ctx context.Context, all arrow.RecordBatch) (appendTo, error) {
	if e.valueCodec != nil {
		return e.bound(e.valueCodec.Bind(ctx, all))
	}
	if e.t.format != "raw" {
		return e.value.Columns(all)
	}
	return bytesOf(all.Column(e.raw))
}

// keys returns what makes the key of a row, nil if there is none.
func (e *encoder) keys(ctx context.Context, all arrow.RecordBatch) (appendTo, func(), error) {
	if len(e.t.keys) == 0 {
		return nil, func() {}, nil
	}
	if e.t.keyFormat == "raw" {
		f, err := bytesOf(all.Column(e.t.keys[0]))
		return f, func() {}, err
	}
	cols := make([]arrow.Array, len(e.t.keys))
	fields := make([]arrow.Field, len(e.t.keys))
	for i, k := range e.t.keys {
		cols[i], fields[i] = all.Column(k), all.Schema().Field(k)
	}
	rec := array.NewRecordBatch(arrow.NewSchema(fields, nil), cols, all.NumRows())
	if e.keyCodec != nil {
		f, err := e.bound(e.keyCodec.Bind(ctx, rec))
		if one := cols[0]; len(cols) == 1 && one.NullN() > 0 { // NULL is no key, as in raw
			return func(dst []byte, i int) []byte {
				if one.IsNull(i) {
					return nil
				}
				return f(dst, i)
			}, rec.Release, err
		}
		return f, rec.Release, err
	}
	f, err := e.key.Columns(rec)
	return f, rec.Release, err
}

// bound keeps the first error of a codec, which ends the batch.
func (e *encoder) bound(row codecs.Append, err error) (appendTo, error) {
	return func(dst []byte, i int) []byte {
		out, err := row(notNil(dst), i)
		if err != nil && e.failed == nil {
			e.failed = err
		}
		return out
	}, err
}

// openCodecs makes the codecs of values and keys. JSON and raw bytes have encoders of
// their own.
func (t *target) openCodecs() (err error) {
	spec := codecs.Spec{Config: formats.Config{Options: t.spec.Options}, What: fmt.Sprintf("table %q", t.spec.Table), Topic: t.topic, Schema: t.spec.Schema, Record: t.spec.Table}
	own := func(format string) bool { return format == "json" || format == "raw" || format == "debezium-json" }
	if !own(t.format) {
		if t.value, err = codecs.Open(t.format, spec); err != nil {
			return err
		}
		if _, err = t.value.NewEncoder(); err != nil {
			return err
		}
	}
	if len(t.keys) == 0 || own(t.keyFormat) {
		return nil
	}
	var fields []arrow.Field
	for _, k := range t.keys {
		fields = append(fields, t.spec.Schema.Field(k))
	}
	spec.Key, spec.Schema, spec.Record = true, arrow.NewSchema(fields, nil), t.spec.Table+"_key"
	if t.key, err = codecs.Open(t.keyFormat, spec); err == nil {
		_, err = t.key.NewEncoder()
	}
	return err
}

// bytesOf appends a column's values as they are; NULL gives nil.
func bytesOf(a arrow.Array) (appendTo, error) {
	switch a := a.(type) {
	case *array.String:
		return func(dst []byte, i int) []byte {
			if a.IsNull(i) {
				return nil
			}
			return append(notNil(dst), a.Value(i)...)
		}, nil
	case *array.Binary:
		return func(dst []byte, i int) []byte {
			if a.IsNull(i) {
				return nil
			}
			return append(notNil(dst), a.Value(i)...)
		}, nil
	case *array.Dictionary:
		of, err := bytesOf(a.Dictionary())
		return func(dst []byte, i int) []byte {
			if a.IsNull(i) {
				return nil
			}
			return of(dst, a.GetValueIndex(i))
		}, err
	}
	f, err := text.NewFormatter(a, false)
	return func(dst []byte, i int) []byte {
		if a.IsNull(i) {
			return nil
		}
		return f(notNil(dst), i)
	}, err
}

// notNil keeps an empty value apart from none.
func notNil(dst []byte) []byte {
	if dst == nil {
		return []byte{}
	}
	return dst
}

// changes puts events as Debezium writes them. The row before an update and the one
// after it are one event where they follow each other under one key; else they are a
// deletion and a creation, each with its own key.
func (e *encoder) changes(ops *array.Int8, n int, key, value appendTo, out put) error {
	var after []byte
	for i := 0; i < n; i++ {
		op := stage.OpAt(ops, i)
		var k []byte
		if key != nil {
			e.bufK = key(e.bufK[:0], i)
			k = e.bufK
		}
		b := e.bufV[:0]
		row := i
		switch op {
		case sinks.UpdateBefore, sinks.Delete:
			b = value(append(b, `{"before":`...), i)
			paired := op == sinks.UpdateBefore && i+1 < n && stage.OpAt(ops, i+1) == sinks.UpdateAfter
			if paired && key != nil {
				after = key(after[:0], i+1)
				paired = string(after) == string(k)
			}
			if paired {
				i++
				b = append(value(append(b, `,"after":`...), i), `,"op":"u"}`...)
			} else {
				b = append(b, `,"after":null,"op":"d"}`...)
			}
		default:
			b = append(value(append(b, `{"before":null,"after":`...), i), `,"op":"c"}`...)
		}
		e.bufV = b
		if e.failed != nil {
			return e.failed // of a key
		}
		if err := out(k, b, row); err != nil {
			return err
		}
	}
	return nil
}
