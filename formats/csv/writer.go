package csv

import (
	"io"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/text"
)

// writer writes RFC 4180 with \n line ends, as Spark and DuckDB do.
type writer struct {
	*formats.TextOutput
	c       config
	special text.Set // a field with one of these characters is quoted
	digits  bool     // numbers, dates and times may need quotes, too
	field   []byte   // one that is quoted
}

func newWriter(w io.Writer, schema *arrow.Schema, fc formats.Config, _ memory.Allocator) (formats.Writer, error) {
	c, err := newConfig(fc)
	if err != nil {
		return nil, err
	}
	for _, f := range schema.Fields() {
		if arrow.IsNested(f.Type.ID()) {
			return nil, batch.UserErrorf("column %q: CSV cannot hold %s: use to_json(%s)", f.Name, f.Type, f.Name)
		}
	}
	out, err := formats.NewTextOutput(w, formats.Compression(fc.Options.Get(optCompress)), "CSV")
	if err != nil {
		return nil, err
	}
	cw := rowWriter(c)
	cw.TextOutput = out
	if c.header {
		for i, f := range schema.Fields() {
			if i > 0 {
				cw.Buf = append(cw.Buf, c.delim)
			}
			cw.Buf = cw.quote(append(cw.Buf, f.Name...), len(cw.Buf))
		}
		if err := cw.EndRow(); err != nil {
			return nil, err
		}
	}
	return cw, nil
}

func rowWriter(c config) *writer {
	return &writer{c: c, special: text.NewSet(c.delim, '\n', '\r', c.quote, c.escape), digits: quotesNumbers(c)}
}

// quotesNumbers reports whether the text of a number, a date or a time may have to be
// quoted.
func quotesNumbers(c config) bool {
	const used = "0123456789+-.:TZeEINaPnfit"
	for _, b := range []byte{c.delim, c.quote, c.escape} {
		if strings.IndexByte(used, b) >= 0 {
			return true
		}
	}
	return c.hasComment && strings.IndexByte(used, c.comment) >= 0 || c.null != "" && strings.Trim(c.null, used) == ""
}

// column is one column of the rows that are written.
type column struct {
	format text.Formatter
	nulls  arrow.Array // nil if no value is NULL
	plain  bool        // never quoted
}

// Write appends rows.
func (w *writer) Write(rec arrow.RecordBatch) error {
	cols, err := w.columns(rec)
	if err != nil {
		return err
	}
	buf := w.Buf
	for row := range int(rec.NumRows()) {
		buf = w.row(buf, cols, row)
		if buf = append(buf, '\n'); len(buf) >= formats.FlushAt {
			w.Buf = buf
			if err := w.Flush(); err != nil {
				return err
			}
			buf = w.Buf
		}
	}
	w.Buf = buf
	return nil
}

// columns binds a batch.
func (w *writer) columns(rec arrow.RecordBatch) ([]column, error) {
	cols := make([]column, rec.NumCols())
	for i := range cols {
		a := rec.Column(i)
		f, err := text.NewFormatter(a, false)
		if err != nil {
			return nil, batch.UserErrorf("column %q: %w", rec.ColumnName(i), err)
		}
		cols[i] = column{format: f, plain: !w.digits && numeric(a.DataType())}
		if a.NullN() > 0 {
			cols[i].nulls = a
		}
	}
	return cols, nil
}

// row appends a row without its end.
func (w *writer) row(buf []byte, cols []column, row int) []byte {
	for i := range cols {
		if i > 0 {
			buf = append(buf, w.c.delim)
		}
		c := &cols[i]
		if c.nulls != nil && c.nulls.IsNull(row) {
			buf = append(buf, w.c.null...)
			continue
		}
		from := len(buf)
		buf = c.format(buf, row)
		if !c.plain {
			buf = w.quote(buf, from)
		}
	}
	return buf
}

// numeric says of a type that its texts have no other characters than quotesNumbers
// knows.
func numeric(dt arrow.DataType) bool {
	switch dt.ID() {
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64, arrow.FLOAT32, arrow.FLOAT64, arrow.DECIMAL128, arrow.DATE32, arrow.TIMESTAMP:
		return true
	}
	return false
}

// quote ends a field, which lies in buf from a place on: it is quoted where it would
// not read back as it is, also where it looks like NULL, a comment, or has blanks at
// its ends.
func (w *writer) quote(buf []byte, from int) []byte {
	v := buf[from:]
	plain := len(v) > 0 && string(v) != w.c.null && !w.special.In(v) && v[0] != ' ' && v[len(v)-1] != ' ' && (!w.c.hasComment || v[0] != w.c.comment)
	if plain || !w.c.hasQuote {
		return buf
	}
	w.field = append(w.field[:0], v...)
	buf = append(buf[:from], w.c.quote)
	for _, b := range w.field {
		if b == w.c.quote || b == w.c.escape {
			buf = append(buf, w.c.escape)
		}
		buf = append(buf, b)
	}
	return append(buf, w.c.quote)
}
