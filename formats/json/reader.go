package json

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
)

// lines cuts a stream into lines that are not blank.
type lines struct {
	w    *formats.Window
	size int   // of the line in hand, with its end
	line int64 // its number, from 1
	// Of a file whose objects go over lines: whether it is one, the lines within
	// the object in hand, and what of an array was read.
	values bool
	more   int64
	at     int64 // offset of the line in hand in the piece
	array  arrayState
}

const window = 256 << 10

// next returns the next line, valid until the one behind is asked for; nil at the end.
func (l *lines) next() ([]byte, error) {
	if l.values {
		return l.nextValue()
	}
	for {
		l.w.Advance(l.size)
		l.at += int64(l.size)
		l.size = 0
		b := l.w.Bytes()
		n := bytes.IndexByte(b, '\n')
		for n < 0 && !l.w.EOF() {
			seen := len(b)
			if err := l.w.Fill(); err != nil {
				l.line++
				return nil, err
			}
			b = l.w.Bytes()
			if n = bytes.IndexByte(b[seen:], '\n'); n >= 0 {
				n += seen
			}
		}
		l.line++
		if n < 0 {
			if len(b) == 0 {
				return nil, nil
			}
			n = len(b)
			l.size = n
		} else {
			l.size = n + 1
		}
		line := bytes.TrimSuffix(b[:n], []byte{'\r'})
		if l.line == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff"))
		}
		if len(bytes.TrimSpace(line)) > 0 {
			return line, nil
		}
	}
}

// LineDecoder makes rows of lines. Decode appends those of one line, which may be none
// or several; of a line with an error, rows says how many are there all the same.
type LineDecoder interface {
	Decode(line []byte) (rows int, err error)
	Rows() int
	Flush() arrow.RecordBatch
	Release()
}

var _ LineDecoder = (*Decoder)(nil)

type reader struct {
	f       formats.File
	from    int64
	in      io.Closer
	lines   lines
	d       LineDecoder
	maxRows int
	failed  error
	done    bool
	alloc   memory.Allocator

	quarantine bool
	aside      *formats.Aside // nil: nobody takes bad rows
}

var _ formats.Quarantiner = (*reader)(nil)

// SetAside implements formats.Quarantiner.
func (r *reader) SetAside(to formats.SetAside) {
	if r.quarantine {
		r.aside = formats.NewAside(r.f, r.from, to)
	}
}

func newReader(_ context.Context, f formats.File, p formats.Piece, s formats.ReadSpec) (formats.Reader, error) {
	d, err := NewDecoder(s.Schema, s.Config, s.Alloc)
	if err != nil {
		return nil, err
	}
	return NewLineReader(f, p, s, d)
}

// NewLineReader reads the lines of a piece through a decoder, which it takes over.
func NewLineReader(f formats.File, p formats.Piece, s formats.ReadSpec, d LineDecoder) (formats.Reader, error) {
	if p.From < 0 || p.To > f.Size || p.From > p.To {
		d.Release()
		return nil, batch.UserErrorf("read file %q: it has %d bytes and not [%d, %d): was it replaced?", f.Name, f.Size, p.From, p.To)
	}
	in, err := formats.Decompress(f, p.From, p.To)
	if err != nil {
		d.Release()
		return nil, err
	}
	r := &reader{f: f, from: p.From, in: in, d: d, maxRows: s.MaxRows, alloc: s.Alloc, quarantine: formats.Quarantines(s.Config), lines: lines{w: formats.NewWindow(in, window)}}
	if r.maxRows <= 0 {
		r.maxRows = formats.BatchRows
	}
	if r.alloc == nil {
		r.alloc = memory.DefaultAllocator
	}
	if p.From == 0 {
		if r.lines.values, err = multiline(f, s.Config); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}
	return r, nil
}

// Next returns the next batch.
func (r *reader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if r.failed != nil {
		return nil, r.failed
	}
	for size := 0; r.d.Rows() < r.maxRows && size < formats.BatchBytes; {
		if r.d.Rows()&1023 == 0 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
		line, err := r.lines.next()
		if err == nil && line == nil {
			r.done = true
			break
		}
		if err == nil {
			size += len(line)
			var rows int
			if rows, err = r.d.Decode(line); err != nil && r.aside != nil {
				err = r.setAside(line, rows, err)
			}
		}
		if err != nil {
			r.failed = r.fail(err)
			return nil, r.failed
		}
	}
	if r.d.Rows() == 0 && !r.done {
		return r.Next(ctx) // nothing but bad lines so far
	}
	if r.d.Rows() == 0 {
		return nil, io.EOF
	}
	return r.aside.Clean(r.d.Flush(), r.alloc)
}

// setAside puts the line in hand into the quarantine. It may have left rows in the
// builders.
func (r *reader) setAside(line []byte, rows int, err error) error {
	for i := range rows {
		r.aside.Drop(r.d.Rows() - rows + i)
	}
	at := r.lines.at
	if r.lines.values {
		at = -1
	}
	return r.aside.Add(bytes.TrimRight(line, "\r\n"), r.lines.line, at, err.Error())
}

// fail names file and line.
func (r *reader) fail(err error) error {
	if k, _ := batch.KindOf(err); k != batch.Internal {
		return err // of the decompressor, which names the file
	}
	line := r.lines.line
	if r.from > 0 {
		line += formats.CountLines(r.f, r.from)
	}
	sep := ": %v"
	var at *SyntaxError
	if errors.As(err, &at) {
		sep = ", %v"
	}
	return formats.TextError(r.f, line, sep, err)
}

// Close releases what was read and not returned.
func (r *reader) Close() error {
	if r.in == nil {
		return nil
	}
	r.d.Release()
	in := r.in
	r.in = nil
	if r.failed == nil {
		r.failed = io.EOF
	}
	return in.Close()
}
