package csv

import (
	"bytes"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/text"
)

// writer writes RFC 4180 with \n line ends, as Spark and DuckDB do.
type writer struct {
	c       config
	schema  *arrow.Schema
	out     io.WriteCloser
	under   *counter
	buf     []byte
	special string
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

const flushAt = 64 << 10

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
	under := &counter{w: w}
	out, err := formats.Compress(formats.Compression(fc.Options.Get(optCompress)), under)
	if err != nil {
		return nil, err
	}
	cw := &writer{c: c, schema: schema, out: out, under: under, special: string([]byte{c.delim, '\n', '\r', c.quote, c.escape})}
	if c.header {
		for i, f := range schema.Fields() {
			if i > 0 {
				cw.buf = append(cw.buf, c.delim)
			}
			cw.quote([]byte(f.Name))
		}
		cw.buf = append(cw.buf, '\n')
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
				w.buf = append(w.buf, w.c.delim)
			}
			if rec.Column(i).IsNull(row) {
				w.buf = append(w.buf, w.c.null...)
				continue
			}
			tmp = f(tmp[:0], row)
			w.quote(tmp)
		}
		w.buf = append(w.buf, '\n')
		if len(w.buf) >= flushAt {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// quote appends a field, quoted where it would not read back as it is: also
// where it looks like NULL, a comment, or has blanks at its ends.
func (w *writer) quote(v []byte) {
	plain := len(v) > 0 && string(v) != w.c.null && !bytes.ContainsAny(v, w.special) && v[0] != ' ' && v[len(v)-1] != ' ' && (!w.c.hasComment || v[0] != w.c.comment)
	if plain || !w.c.hasQuote {
		w.buf = append(w.buf, v...)
		return
	}
	w.buf = append(w.buf, w.c.quote)
	for _, b := range v {
		if b == w.c.quote || b == w.c.escape {
			w.buf = append(w.buf, w.c.escape)
		}
		w.buf = append(w.buf, b)
	}
	w.buf = append(w.buf, w.c.quote)
}

func (w *writer) flush() error {
	_, err := w.out.Write(w.buf)
	w.buf = w.buf[:0]
	if err != nil {
		return fmt.Errorf("write a CSV file: %w", err)
	}
	return nil
}

// Size is what was written and what waits to be.
func (w *writer) Size() int64 { return w.under.n + int64(len(w.buf)) }

// Close writes what waits and ends the compression.
func (w *writer) Close() error {
	if err := w.flush(); err != nil {
		return err
	}
	if err := w.out.Close(); err != nil {
		return fmt.Errorf("end a CSV file: %w", err)
	}
	return nil
}
