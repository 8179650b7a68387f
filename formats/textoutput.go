package formats

import (
	"fmt"
	"io"
)

// Counter counts the bytes that go through it to W. It has no Close, so that a
// library cannot close what is not its to close.
type Counter struct {
	W io.Writer
	N int64
}

func (c *Counter) Write(p []byte) (int, error) {
	n, err := c.W.Write(p)
	c.N += int64(n)
	return n, err
}

// TextOutput is what a Writer of a text format embeds: rows are appended to Buf,
// and go through the compression in large pieces.
type TextOutput struct {
	Buf   []byte // what waits; append to it and call EndRow
	kind  string
	out   io.WriteCloser
	under *Counter
}

// FlushAt is how much of Buf is worth a write.
const FlushAt = 64 << 10

// NewTextOutput starts a file on w; kind is the format's name in errors.
func NewTextOutput(w io.Writer, c Compression, kind string) (*TextOutput, error) {
	under := &Counter{W: w}
	out, err := Compress(c, under)
	if err != nil {
		return nil, err
	}
	return &TextOutput{kind: kind, out: out, under: under}, nil
}

// EndRow ends the row at the end of Buf, and writes Buf once enough waits in it.
func (t *TextOutput) EndRow() error {
	t.Buf = append(t.Buf, '\n')
	if len(t.Buf) < FlushAt {
		return nil
	}
	return t.Flush()
}

// Flush writes what waits.
func (t *TextOutput) Flush() error {
	_, err := t.out.Write(t.Buf)
	t.Buf = t.Buf[:0]
	if err != nil {
		return fmt.Errorf("write a %s file: %w", t.kind, err)
	}
	return nil
}

// Size is what was written and what waits to be.
func (t *TextOutput) Size() int64 { return t.under.N + int64(len(t.Buf)) }

// Close writes what waits and ends the compression.
func (t *TextOutput) Close() error {
	if err := t.Flush(); err != nil {
		return err
	}
	if err := t.out.Close(); err != nil {
		return fmt.Errorf("end a %s file: %w", t.kind, err)
	}
	return nil
}
