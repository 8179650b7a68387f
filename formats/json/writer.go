package json

import (
	"io"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/text"
)

// Encoder writes rows as JSON objects, NULLs included. It holds no data.
type Encoder struct{ schema *arrow.Schema }

// NewEncoder checks that the schema's types can be written.
func NewEncoder(schema *arrow.Schema) *Encoder { return &Encoder{schema: schema} }

// Columns binds the encoder to a batch, which must outlive the result.
func (e *Encoder) Columns(rec arrow.RecordBatch) (func(dst []byte, row int) []byte, error) {
	fs := make([]text.Formatter, rec.NumCols())
	keys := make([][]byte, rec.NumCols())
	for i := range fs {
		f, err := encode(rec.Column(i))
		if err != nil {
			return nil, batch.UserErrorf("column %q: %w", e.schema.Field(i).Name, err)
		}
		fs[i], keys[i] = f, append(appendQuoted(nil, []byte(e.schema.Field(i).Name)), ':')
	}
	return func(dst []byte, row int) []byte { return appendObject(dst, keys, fs, row) }, nil
}

func appendObject(dst []byte, keys [][]byte, fs []text.Formatter, row int) []byte {
	dst = append(dst, '{')
	for i, f := range fs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = f(append(dst, keys[i]...), row)
	}
	return append(dst, '}')
}

// encode returns what writes a column's values, null among them.
func encode(a arrow.Array) (text.Formatter, error) {
	f, err := encodeValue(a)
	if err != nil {
		return nil, err
	}
	return func(dst []byte, i int) []byte {
		if a.IsNull(i) {
			return append(dst, "null"...)
		}
		return f(dst, i)
	}, nil
}

func encodeValue(a arrow.Array) (text.Formatter, error) {
	switch a := a.(type) {
	case *array.String:
		return func(dst []byte, i int) []byte { return appendQuoted(dst, []byte(a.Value(i))) }, nil
	case *array.Struct:
		st := a.DataType().(*arrow.StructType)
		keys, fs := make([][]byte, a.NumField()), make([]text.Formatter, a.NumField())
		for i := range fs {
			f, err := encode(a.Field(i))
			if err != nil {
				return nil, err
			}
			fs[i], keys[i] = f, append(appendQuoted(nil, []byte(st.Field(i).Name)), ':')
		}
		return func(dst []byte, i int) []byte { return appendObject(dst, keys, fs, i) }, nil
	case *array.Map:
		return encodeMap(a)
	case *array.List:
		elem, err := encode(a.ListValues())
		return func(dst []byte, i int) []byte {
			from, to := a.ValueOffsets(i)
			dst = append(dst, '[')
			for j := from; j < to; j++ {
				if j > from {
					dst = append(dst, ',')
				}
				dst = elem(dst, int(j))
			}
			return append(dst, ']')
		}, err
	case *array.Float64:
		f, err := text.NewFormatter(a, true)
		return func(dst []byte, i int) []byte { return number(dst, a.Value(i), f, i) }, err
	case *array.Float32:
		f, err := text.NewFormatter(a, true)
		return func(dst []byte, i int) []byte { return number(dst, float64(a.Value(i)), f, i) }, err
	case *array.Dictionary:
		f, err := encodeValue(a.Dictionary())
		return func(dst []byte, i int) []byte { return f(dst, a.GetValueIndex(i)) }, err
	}
	f, err := text.NewFormatter(a, true)
	switch a.DataType().ID() {
	case arrow.TIMESTAMP, arrow.DATE32, arrow.TIME64, arrow.BINARY:
		return func(dst []byte, i int) []byte { return append(f(append(dst, '"'), i), '"') }, err
	}
	return f, err
}

// number quotes what JSON has no number for.
func number(dst []byte, v float64, f text.Formatter, i int) []byte {
	switch {
	case math.IsNaN(v):
		return append(dst, `"NaN"`...)
	case math.IsInf(v, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(v, -1):
		return append(dst, `"-Infinity"`...)
	}
	return f(dst, i)
}

func encodeMap(a *array.Map) (text.Formatter, error) {
	key, err := text.NewFormatter(a.Keys(), true)
	if err != nil {
		return nil, err
	}
	item, err := encode(a.Items())
	var tmp []byte
	return func(dst []byte, i int) []byte {
		from, to := a.ValueOffsets(i)
		dst = append(dst, '{')
		for j := from; j < to; j++ {
			if j > from {
				dst = append(dst, ',')
			}
			tmp = key(tmp[:0], int(j))
			dst = item(append(appendQuoted(dst, tmp), ':'), int(j))
		}
		return append(dst, '}')
	}, err
}

type writer struct {
	*formats.TextOutput
	e *Encoder
}

func newWriter(w io.Writer, schema *arrow.Schema, c formats.Config, _ memory.Allocator) (formats.Writer, error) {
	out, err := formats.NewTextOutput(w, formats.Compression(c.Options.Get(optCompress)), "JSON")
	if err != nil {
		return nil, err
	}
	return &writer{TextOutput: out, e: NewEncoder(schema)}, nil
}

// Write appends rows.
func (w *writer) Write(rec arrow.RecordBatch) error {
	row, err := w.e.Columns(rec)
	if err != nil {
		return err
	}
	for i := range int(rec.NumRows()) {
		w.Buf = row(w.Buf, i)
		if err := w.EndRow(); err != nil {
			return err
		}
	}
	return nil
}

// NewFormatter returns what writes the values of one column, which must outlive it.
func NewFormatter(a arrow.Array) (text.Formatter, error) {
	f, err := encode(a)
	if err != nil {
		return nil, batch.UserErrorf("%w", err)
	}
	return f, nil
}
