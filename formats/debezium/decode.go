package debezium

import (
	"bytes"
	"errors"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/builders"
	"github.com/sluice-stream/sluice/formats/json"
)

// Decoder turns events into rows with a kind of change. It is used by one goroutine.
type Decoder struct {
	schema *arrow.Schema
	rows   *json.Decoder // the columns of the table's rows
	from   []int         // of each column of the schema: its place in rows, or -1
	ops    *array.Int8Builder
	opAt   int // -1: nobody asks
	meta   []metaColumn
	upsert bool
	wrap   string
	ev     event
}

var _ json.LineDecoder = (*Decoder)(nil)

// event is one line taken apart. The parts are texts of JSON; at is where they start.
type event struct {
	before, after, key, op, source, time, schema part
}

type part struct {
	text []byte
	at   int
}

func (p part) null() bool { return json.IsNull(p.text) }

// NewDecoder makes a decoder of events for the columns of a schema, of which the last
// may be batch.OpColumn.
func NewDecoder(s formats.ReadSpec) (*Decoder, error) {
	alloc := s.Alloc
	if alloc == nil {
		alloc = memory.DefaultAllocator
	}
	d := &Decoder{schema: s.Schema, opAt: -1, upsert: s.Options[Changelog] == batch.Upserts.String(), wrap: s.Options.Get(optSchema)}
	d.ops = array.NewInt8Builder(alloc)
	var fields []arrow.Field
	for i, f := range s.Schema.Fields() {
		d.from = append(d.from, -1)
		key, isMeta := s.Meta[i]
		switch {
		case f.Name == batch.OpColumn:
			d.opAt = i
		case isMeta:
			d.meta = append(d.meta, newMeta(i, key, f.Type, alloc))
		default:
			d.from[i] = len(fields)
			fields = append(fields, f)
		}
	}
	var err error
	if d.rows, err = json.NewDecoder(arrow.NewSchema(fields, nil), rowConfig(s.Config), alloc); err != nil {
		d.releaseRest()
		return nil, err
	}
	return d, nil
}

// Decode appends the changes of one event. An empty text is a tombstone.
func (d *Decoder) Decode(line []byte) (rows int, err error) {
	if text := bytes.TrimSpace(line); len(text) == 0 || json.IsNull(text) {
		return 0, nil
	}
	if err := d.read(line); err != nil {
		return 0, err
	}
	return d.changes()
}

// DecodeKeyed is Decode for a message whose key is apart from its value.
func (d *Decoder) DecodeKeyed(key, value []byte) (rows int, err error) {
	if text := bytes.TrimSpace(value); len(text) == 0 || json.IsNull(text) {
		return 0, nil
	}
	if err := d.read(value); err != nil {
		return 0, err
	}
	if len(bytes.TrimSpace(key)) > 0 {
		if err := d.readKey(part{text: key}); err != nil {
			return 0, err
		}
	}
	return d.changes()
}

// read takes an event apart, out of its wrapper if it is in one.
func (d *Decoder) read(line []byte) error {
	d.ev = event{}
	var payload part
	wrapped := false
	err := json.Members(line, func(key, value []byte, at int) {
		if string(key) == "payload" {
			payload, wrapped = part{value, at}, true
			return
		}
		d.ev.note(key, part{value, at})
	})
	if err != nil {
		return err
	}
	wrapped = wrapped && d.ev.op.text == nil && d.wrap != "false"
	if !wrapped && d.wrap == "true" {
		return errors.New("the event is not in a wrapper with a 'payload', and 'debezium-json.schema-include' is true")
	}
	if wrapped {
		schema := d.ev.schema
		key := d.ev.key
		d.ev = event{schema: schema, key: key}
		if payload.null() {
			d.ev.op = part{text: tombstone}
			return nil
		}
		err = json.Members(payload.text, func(key, value []byte, at int) { d.ev.note(key, part{value, payload.at + at}) })
		d.ev.schema = schema
		if err != nil {
			return moved(err, payload.at)
		}
	}
	if d.ev.key.text != nil {
		return d.readKey(d.ev.key)
	}
	return nil
}

// tombstone stands for the op of a wrapper around nothing.
var tombstone = []byte(`"m"`)

func (e *event) note(key []byte, p part) {
	switch string(key) {
	case "before":
		e.before = p
	case "after":
		e.after = p
	case "key":
		e.key = p
	case "op":
		e.op = p
	case "source":
		e.source = p
	case "ts_ms":
		e.time = p
	case "schema":
		e.schema = p
	}
}

// readKey takes a key out of its wrapper, if it is in one.
func (d *Decoder) readKey(key part) error {
	d.ev.key = key
	if key.null() {
		return nil
	}
	return json.Members(key.text, func(name, value []byte, at int) {
		if string(name) == "payload" {
			d.ev.key = part{value, key.at + at}
		}
	})
}

// changes appends what the event in hand does.
func (d *Decoder) changes() (rows int, err error) {
	e := &d.ev
	all, n, err := ChangesOf(string(json.Unquote(e.op.text)), !e.before.null(), !e.after.null(), !e.key.null(), d.upsert)
	if err != nil {
		return 0, err
	}
	for _, c := range all[:n] {
		more, err := d.row(c.Op, [...]part{Before: e.before, After: e.after, Key: e.key}[c.Row])
		if rows += more; err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// row appends a row. Of a bad one that was appended all the same the kind is too.
func (d *Decoder) row(op batch.Op, p part) (rows int, err error) {
	rows, err = d.rows.Decode(p.text)
	for range rows {
		d.ops.Append(int8(op))
		for i := range d.meta {
			if merr := d.meta[i].append(&d.ev); merr != nil && err == nil {
				err = merr
			}
		}
	}
	if err != nil {
		err = moved(err, p.at)
	}
	return rows, err
}

// moved makes an error within a part of a line one of the line.
func moved(err error, by int) error {
	var at *json.SyntaxError
	if errors.As(err, &at) {
		c := *at
		c.Column += by
		return &c
	}
	return err
}

// Rows returns the number of rows since the last Flush.
func (d *Decoder) Rows() int { return d.rows.Rows() }

// Flush returns the rows so far; the caller owns the batch.
func (d *Decoder) Flush() arrow.RecordBatch {
	beside := []builders.Beside{{At: d.opAt, B: d.ops}}
	for i := range d.meta {
		beside = append(beside, builders.Beside{At: d.meta[i].at, B: d.meta[i].b})
	}
	return builders.Join(d.schema, d.from, d.rows.Flush(), beside...)
}

// Release throws away what was not flushed.
func (d *Decoder) Release() {
	d.rows.Release()
	d.releaseRest()
}

func (d *Decoder) releaseRest() {
	d.ops.Release()
	for i := range d.meta {
		d.meta[i].b.Release()
	}
}
