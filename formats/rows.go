package formats

import (
	"bytes"
	"fmt"
	"io"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
)

// BadRows is the option that says what becomes of text that cannot be read.
var BadRows = options.Option{Key: "bad-rows", Kind: options.Enum, Default: "fail", Values: []string{"fail", "null", "quarantine"},
	Doc: "What to do with a value that cannot be read: stop with an error that names it, take NULL for it, or put the row as it stands into a table of bad rows."}

// Limits on text files.
const (
	MaxRecord = 64 << 20 // bytes of one record
	CutBytes  = 32 << 20 // near which a plain file is cut
)

// TextError says where in a text file something cannot be read.
func TextError(f File, line int64, format string, args ...any) error {
	return batch.UserErrorf("file %q, line %d%s", f.Name, line, fmt.Sprintf(format, args...))
}

// CutLines cuts a plain text file behind line ends near each multiple of size.
// A compressed file is one piece.
func CutLines(f File, size int64) ([]Piece, error) {
	if CompressionOf(f.Name) != NoCompression || f.Size <= size+size/2 {
		return []Piece{{To: f.Size, Bytes: f.Size}}, nil
	}
	var out []Piece
	buf := make([]byte, 64<<10)
	from := int64(0)
	for from < f.Size {
		to := f.Size
		if f.Size-from > size+size/2 {
			var err error
			if to, err = lineEnd(f, from+size, buf); err != nil {
				return nil, err
			}
		}
		out = append(out, Piece{From: from, To: to, Bytes: to - from})
		from = to
	}
	return out, nil
}

// lineEnd returns the place behind the first line end at or after at.
func lineEnd(f File, at int64, buf []byte) (int64, error) {
	for at < f.Size {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), f.Size-at)], at)
		if i := bytes.IndexByte(buf[:n], '\n'); i >= 0 {
			return at + int64(i) + 1, nil
		}
		if n == 0 {
			return 0, fmt.Errorf("look for line ends in %q: %w", f.Name, err)
		}
		at += int64(n)
	}
	return f.Size, nil
}

// CountLines counts the line ends before a place, for errors in a piece that
// does not start at the file's beginning. 0 if they cannot be read.
func CountLines(f File, to int64) int64 {
	buf := make([]byte, 256<<10)
	lines := int64(0)
	for at := int64(0); at < to; {
		n, _ := f.ReadAt(buf[:min(int64(len(buf)), to-at)], at)
		if n == 0 {
			break
		}
		lines += int64(bytes.Count(buf[:n], []byte{'\n'}))
		at += int64(n)
	}
	return lines
}

// Window reads a stream through a buffer that grows to the longest record.
type Window struct {
	in  io.Reader
	buf []byte
	pos int // of the first byte not consumed
	end int
	eof bool
}

// NewWindow starts with a buffer of some size.
func NewWindow(in io.Reader, size int) *Window { return &Window{in: in, buf: make([]byte, size)} }

// Bytes returns what is read and not consumed.
func (w *Window) Bytes() []byte { return w.buf[w.pos:w.end] }

// Reset makes the window one over bytes that are there already.
func (w *Window) Reset(b []byte) { *w = Window{buf: b, end: len(b), eof: true} }

// EOF reports whether nothing comes behind Bytes.
func (w *Window) EOF() bool { return w.eof }

// Advance consumes n bytes.
func (w *Window) Advance(n int) { w.pos += n }

// Fill reads more behind Bytes, which move.
func (w *Window) Fill() error {
	if w.pos > 0 {
		w.end = copy(w.buf, w.buf[w.pos:w.end])
		w.pos = 0
	}
	if w.end == len(w.buf) {
		if len(w.buf) >= MaxRecord {
			return fmt.Errorf("a record is longer than %d bytes", MaxRecord)
		}
		grown := make([]byte, 2*len(w.buf))
		copy(grown, w.buf)
		w.buf = grown
	}
	for range 100 {
		n, err := w.in.Read(w.buf[w.end:])
		w.end += n
		if err == io.EOF {
			w.eof = true
			return nil
		}
		if err != nil || n > 0 {
			return err
		}
	}
	return io.ErrNoProgress
}
