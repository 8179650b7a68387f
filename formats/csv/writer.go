package csv

import (
	"bytes"
	"io"

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
	special string // a field with one of these characters is quoted
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
	cw := &writer{TextOutput: out, c: c, special: string([]byte{c.delim, '\n', '\r', c.quote, c.escape})}
	if c.header {
		for i, f := range schema.Fields() {
			if i > 0 {
				cw.Buf = append(cw.Buf, c.delim)
			}
			cw.quote([]byte(f.Name))
		}
		if err := cw.EndRow(); err != nil {
			return nil, err
		}
	}
	return cw, nil
}

// Write appends rows.
func (w *writer) Write(rec arrow.RecordBatch) error {
	cols := make([]text.Formatter, rec.NumCols())
	for i := range cols {
		f, err := text.NewFormatter(rec.Column(i), false)
		if err != nil {
			return batch.UserErrorf("column %q: %w", rec.ColumnName(i), err)
		}
		cols[i] = f
	}
	var tmp []byte
	for row := range int(rec.NumRows()) {
		for i, f := range cols {
			if i > 0 {
				w.Buf = append(w.Buf, w.c.delim)
			}
			if rec.Column(i).IsNull(row) {
				w.Buf = append(w.Buf, w.c.null...)
				continue
			}
			tmp = f(tmp[:0], row)
			w.quote(tmp)
		}
		if err := w.EndRow(); err != nil {
			return err
		}
	}
	return nil
}

// quote appends a field, quoted where it would not read back as it is: also
// where it looks like NULL, a comment, or has blanks at its ends.
func (w *writer) quote(v []byte) {
	plain := len(v) > 0 && string(v) != w.c.null && !bytes.ContainsAny(v, w.special) && v[0] != ' ' && v[len(v)-1] != ' ' && (!w.c.hasComment || v[0] != w.c.comment)
	if plain || !w.c.hasQuote {
		w.Buf = append(w.Buf, v...)
		return
	}
	w.Buf = append(w.Buf, w.c.quote)
	for _, b := range v {
		if b == w.c.quote || b == w.c.escape {
			w.Buf = append(w.Buf, w.c.escape)
		}
		w.Buf = append(w.Buf, b)
	}
	w.Buf = append(w.Buf, w.c.quote)
}
