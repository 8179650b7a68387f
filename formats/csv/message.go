package csv

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
)

var (
	errMany  = errors.New("there is more than one record in it")
	errEmpty = errors.New("there is no record in it")
)

// Decoder turns records that come one by one, such as messages, into rows. Fields go by
// position. It is used by one goroutine.
type Decoder struct {
	r      *reader
	rows   int
	schema *arrow.Schema
}

// NewDecoder makes a decoder of the spec's columns; File has all that a record holds.
func NewDecoder(s formats.ReadSpec) (*Decoder, error) {
	c, err := newConfig(s.Config)
	if err != nil {
		return nil, err
	}
	c.header = false
	r := &reader{rows: records{c: c, w: formats.NewWindow(nil, 0), next: 1}, quarantine: formats.Quarantines(s.Config)}
	if err := r.start(s, c); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if r.quarantine {
		r.aside = formats.NewAside(formats.File{}, 0, nil) // its presence has bad rows filled up
	}
	return &Decoder{r: r, schema: s.Schema}, nil
}

// Decode appends a row. Of a bad one, rows says whether it is there all the same.
func (d *Decoder) Decode(record []byte) (rows int, err error) {
	r := &d.r.rows
	r.w.Reset(bytes.TrimRight(record, "\r\n"))
	r.size, r.at, r.next = 0, 0, 1
	ok, err := r.step()
	if err == nil && !ok {
		if r.fields = append(r.fields[:0], field{}); len(d.r.columns) > 1 || d.r.width > 1 {
			err = errEmpty
		}
	}
	if err == nil && r.size < len(r.w.Bytes()) {
		err = errMany
	}
	if err == nil {
		err = d.r.fieldCount()
	}
	if err != nil {
		if r.c.badNull {
			d.AppendNull()
			return 1, nil
		}
		return 0, err
	}
	where, err := d.r.values()
	if err != nil {
		err = fmt.Errorf("%s%w", colon(where), err)
		if d.r.aside == nil {
			return 0, err
		}
	}
	d.rows++
	return 1, err
}

func colon(where string) string {
	if where == "" {
		return ""
	}
	return where[2:] + ": " // behind a comma
}

// AppendNull appends a row of NULLs.
func (d *Decoder) AppendNull() {
	for i := range d.schema.NumFields() {
		d.r.b.Field(i).AppendNull()
	}
	d.rows++
}

// Rows returns the number of rows since the last Flush.
func (d *Decoder) Rows() int { return d.rows }

// Flush returns the rows so far; the caller owns the batch.
func (d *Decoder) Flush() arrow.RecordBatch {
	n := d.rows
	d.rows = 0
	if d.schema.NumFields() == 0 {
		return array.NewRecordBatch(d.schema, nil, int64(n))
	}
	return d.r.b.NewRecordBatch()
}

// Release throws away what was not flushed.
func (d *Decoder) Release() { d.r.b.Release() }

// Encoder writes rows as records, without the end of the line. It is used by one goroutine.
type Encoder struct{ w *writer }

// NewEncoder checks that the schema's types can be written.
func NewEncoder(schema *arrow.Schema, fc formats.Config) (*Encoder, error) {
	c, err := newConfig(fc)
	if err != nil {
		return nil, err
	}
	for _, f := range schema.Fields() {
		if arrow.IsNested(f.Type.ID()) {
			return nil, batch.UserErrorf("column %q: CSV cannot hold %s: use to_json(%s)", f.Name, f.Type, f.Name)
		}
	}
	return &Encoder{rowWriter(c)}, nil
}

// Columns binds the encoder to a batch, which must outlive the result.
func (e *Encoder) Columns(rec arrow.RecordBatch) (func(dst []byte, row int) []byte, error) {
	cols, err := e.w.columns(rec)
	return func(dst []byte, row int) []byte { return e.w.row(dst, cols, row) }, err
}
