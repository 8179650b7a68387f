package lines

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/options"
)

var (
	optWhole    = options.Option{Key: "text.whole-file", Kind: options.Boolean, Default: "false", Doc: "Whether a file is one row and not a row for each line."}
	optCompress = options.Option{Key: "text.compression", Kind: options.Enum, Default: "none", Values: formats.Compressions, Doc: "How a written file is compressed."}
	declared    = []options.Option{optWhole, optCompress}
)

const window = 256 << 10

// New returns the format for a registry.
func New() formats.Format {
	return formats.Format{
		Name: "text", Doc: "Plain text: a column with a row for each line.", Extensions: []string{".text", ".log"},
		Options: declared, Plain: true,
		Infer: func(context.Context, formats.File, formats.Config) (*arrow.Schema, error) {
			return arrow.NewSchema([]arrow.Field{{Name: "value", Type: arrow.BinaryTypes.String, Nullable: true}}, nil), nil
		},
		Cut: func(_ context.Context, f formats.File, c formats.Config) ([]formats.Piece, error) {
			if c.Options.Bool(optWhole) {
				return []formats.Piece{{To: f.Size, Bytes: f.Size}}, nil
			}
			return formats.CutLines(f, formats.CutBytes)
		},
		NewReader: newReader,
		NewWriter: newWriter,
	}
}

type reader struct {
	f       formats.File
	from    int64
	in      io.Closer
	w       *formats.Window
	size    int // of the line in hand, with its end
	line    int64
	whole   bool
	badNull bool
	text    bool // must be UTF-8
	schema  *arrow.Schema
	b       *array.BinaryBuilder
	maxRows int
	done    error

	quarantine bool
	aside      *formats.Aside // nil: nobody takes bad rows
	at         int64          // offset of the line in hand in the piece
}

var _ formats.Quarantiner = (*reader)(nil)

// SetAside implements formats.Quarantiner.
func (r *reader) SetAside(to formats.SetAside) {
	if r.quarantine {
		r.aside = formats.NewAside(r.f, r.from, to)
	}
}

func newReader(_ context.Context, f formats.File, p formats.Piece, s formats.ReadSpec) (formats.Reader, error) {
	if p.From < 0 || p.To > f.Size || p.From > p.To {
		return nil, batch.UserErrorf("read file %q: it has %d bytes and not [%d, %d): was it replaced?", f.Name, f.Size, p.From, p.To)
	}
	r := &reader{f: f, from: p.From, quarantine: formats.Quarantines(s.Config), schema: s.Schema, maxRows: s.MaxRows, whole: s.Options.Bool(optWhole), badNull: s.Options.Get(formats.BadRows) == "null"}
	if r.maxRows <= 0 {
		r.maxRows = formats.BatchRows
	}
	declared := s.File
	if declared == nil {
		declared = s.Schema
	}
	if declared.NumFields() > 1 {
		return nil, batch.UserErrorf("file %q: a text file has one column, %d are declared", f.Name, declared.NumFields())
	}
	alloc := s.Alloc
	if alloc == nil {
		alloc = memory.DefaultAllocator
	}
	if s.Schema.NumFields() == 1 {
		dt := s.Schema.Field(0).Type
		if dt.ID() != arrow.STRING && dt.ID() != arrow.BINARY {
			return nil, batch.UserErrorf("file %q: the column %q of a text file is STRING or BINARY, not %s", f.Name, s.Schema.Field(0).Name, dt)
		}
		r.text = dt.ID() == arrow.STRING
		r.b = array.NewBinaryBuilder(alloc, arrow.BinaryTypes.Binary)
	}
	in, err := formats.Decompress(f, p.From, p.To)
	if err != nil {
		if r.b != nil {
			r.b.Release()
		}
		return nil, err
	}
	r.in, r.w = in, formats.NewWindow(in, window)
	return r, nil
}

// next returns the next line without its end; false behind the last.
func (r *reader) next() ([]byte, bool, error) {
	r.w.Advance(r.size)
	r.at += int64(r.size)
	r.size = 0
	b := r.w.Bytes()
	n := -1
	if !r.whole {
		n = bytes.IndexByte(b, '\n')
	}
	for n < 0 && !r.w.EOF() {
		seen := len(b)
		if err := r.w.Fill(); err != nil {
			r.line++
			return nil, false, err
		}
		b = r.w.Bytes()
		if !r.whole {
			if n = bytes.IndexByte(b[seen:], '\n'); n >= 0 {
				n += seen
			}
		}
	}
	if n < 0 {
		if len(b) == 0 && (!r.whole || r.line > 0) {
			return nil, false, nil
		}
		r.line++
		r.size = len(b)
		return r.clean(b), true, nil
	}
	r.line++
	r.size = n + 1
	return r.clean(bytes.TrimSuffix(b[:n], []byte{'\r'})), true, nil
}

func (r *reader) clean(line []byte) []byte {
	if r.line == 1 && r.from == 0 {
		return bytes.TrimPrefix(line, []byte("\ufeff"))
	}
	return line
}

// Next returns the next batch.
func (r *reader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if r.done != nil {
		return nil, r.done
	}
	rows, size := 0, 0
	for rows < r.maxRows && size < formats.BatchBytes {
		if rows&1023 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		line, ok, err := r.next()
		if err != nil {
			return nil, r.fail(err)
		}
		if !ok {
			r.done = io.EOF
			break
		}
		rows++
		size += len(line)
		if r.aside != nil && r.b != nil && r.text && !utf8.Valid(line) {
			rows--
			if err := r.aside.Add(line, r.line, r.at, "not valid UTF-8"); err != nil {
				return nil, r.fail(err)
			}
			continue
		}
		switch {
		case r.b == nil:
		case !r.text || utf8.Valid(line):
			r.b.Append(line)
		case r.badNull:
			r.b.AppendNull()
		default:
			return nil, r.fail(errors.New("not valid UTF-8: declare the column BINARY to take any bytes"))
		}
	}
	if rows == 0 && r.done == nil {
		return r.Next(ctx) // nothing but bad lines so far
	}
	if rows == 0 {
		return nil, io.EOF
	}
	if r.b == nil {
		return array.NewRecordBatch(r.schema, nil, int64(rows)), nil
	}
	bin := r.b.NewArray()
	defer bin.Release()
	d := array.NewData(r.schema.Field(0).Type, bin.Len(), bin.Data().Buffers(), nil, bin.NullN(), 0)
	defer d.Release()
	col := array.MakeFromData(d)
	defer col.Release()
	return array.NewRecordBatch(r.schema, []arrow.Array{col}, int64(rows)), nil
}

func (r *reader) fail(err error) error {
	if k, _ := batch.KindOf(err); k == batch.Internal {
		line := r.line
		if r.from > 0 {
			line += formats.CountLines(r.f, r.from)
		}
		err = formats.TextError(r.f, line, ": %v", err)
	}
	r.done = err
	return err
}

// Close releases what was read and not returned.
func (r *reader) Close() error {
	if r.in == nil {
		return nil
	}
	if r.b != nil {
		r.b.Release()
	}
	in := r.in
	r.in = nil
	if r.done == nil {
		r.done = io.EOF
	}
	return in.Close()
}

type writer struct{ *formats.TextOutput }

func newWriter(w io.Writer, schema *arrow.Schema, c formats.Config, _ memory.Allocator) (formats.Writer, error) {
	if schema.NumFields() != 1 || schema.Field(0).Type.ID() != arrow.STRING && schema.Field(0).Type.ID() != arrow.BINARY {
		return nil, batch.UserErrorf("a text file has one column of STRING or BINARY: make it of the others by concat or to_json")
	}
	out, err := formats.NewTextOutput(w, formats.Compression(c.Options.Get(optCompress)), "text")
	if err != nil {
		return nil, err
	}
	return &writer{out}, nil
}

// Write appends lines, an empty one for NULL. Text with a line end in it would read
// back as two rows and is refused.
func (w *writer) Write(rec arrow.RecordBatch) error {
	var value func(int) []byte
	switch a := rec.Column(0).(type) {
	case *array.String:
		value = func(i int) []byte { return []byte(a.Value(i)) }
	case *array.Binary:
		value = a.Value
	default:
		return fmt.Errorf("write a text file: a column of %s", rec.Column(0).DataType())
	}
	for i := range int(rec.NumRows()) {
		if rec.Column(0).IsValid(i) {
			v := value(i)
			if bytes.IndexByte(v, '\n') >= 0 {
				return batch.UserErrorf("column %q: a value holds a line end, which a text file cannot: use replace, or another format", rec.ColumnName(0))
			}
			w.Buf = append(w.Buf, v...)
		}
		if err := w.EndRow(); err != nil {
			return err
		}
	}
	return nil
}
