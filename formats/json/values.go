package json

import (
	"bytes"
	"errors"
	"io"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
)

// multiline says whether a file holds objects that may go over lines.
func multiline(f formats.File, c formats.Config) (yes bool, err error) {
	switch c.Options.Get(optMulti) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	in, err := formats.Decompress(f, 0, f.Size)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	head := make([]byte, 4096)
	n, err := io.ReadFull(in, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		if k, _ := batch.KindOf(err); k != batch.Internal {
			return false, err
		}
		return false, batch.ExternalError(err, true)
	}
	head = bytes.TrimSpace(bytes.TrimPrefix(head[:n], []byte("\ufeff")))
	return len(head) > 0 && head[0] == '[', nil
}

// arrayState is where in a file of objects, or of one array of them, the reader is.
type arrayState int

const (
	atStart   arrayState = iota
	noArray              // one object after the other
	wantValue            // behind [ or a comma
	firstOf              // behind [: the end may come at once
	wantComma            // behind an object of an array
	behind               // behind ]
)

var (
	errArrayEnd = errors.New("the array is not closed: it was cut off, or is still being written")
	errBehind   = errors.New("text behind the array")
	errElement  = errors.New("want an object")
)

// nextValue returns the next object, over as many lines as it goes; nil at the end.
// Its syntax is checked by who reads it.
func (l *lines) nextValue() ([]byte, error) {
	l.w.Advance(l.size)
	l.line += l.more
	l.size, l.more = 0, 0
	if l.line == 0 {
		l.line = 1
	}
	for {
		c, err := l.peek()
		if err != nil {
			return nil, err
		}
		if c == 0 && len(l.w.Bytes()) == 0 {
			if l.array == wantValue || l.array == wantComma || l.array == firstOf {
				return nil, errArrayEnd
			}
			return nil, nil
		}
		switch {
		case l.array == atStart && c == '[':
			l.w.Advance(1)
			l.array = firstOf
		case l.array == behind:
			return nil, errBehind
		case l.array == wantComma && c == ',':
			l.w.Advance(1)
			l.array = wantValue
		case (l.array == wantComma || l.array == firstOf) && c == ']':
			l.w.Advance(1)
			l.array = behind
		case l.array == wantComma:
			return nil, errComma
		case c != '{':
			return nil, errElement
		default:
			return l.object()
		}
	}
}

// peek passes over blanks and returns the byte behind, 0 at the end.
func (l *lines) peek() (byte, error) {
	for {
		b := l.w.Bytes()
		if l.line == 1 && l.array == atStart && bytes.HasPrefix(b, []byte("\ufeff")) {
			l.w.Advance(3)
			continue
		}
		for i, c := range b {
			switch c {
			case '\n':
				l.line++
			case ' ', '\t', '\r':
			default:
				l.w.Advance(i)
				return c, nil
			}
		}
		l.w.Advance(len(b))
		if l.w.EOF() {
			return 0, nil
		}
		if err := l.w.Fill(); err != nil {
			return 0, err
		}
	}
}

// object finds the end of the object that the window stands at.
func (l *lines) object() ([]byte, error) {
	depth, quoted, escaped := 0, false, false
	for at := 0; ; {
		b := l.w.Bytes()
		for ; at < len(b); at++ {
			switch c := b[at]; {
			case escaped:
				escaped = false
			case quoted && c == '\\':
				escaped = true
			case c == '"':
				quoted = !quoted
			case c == '\n':
				l.more++
			case quoted:
			case c == '{' || c == '[':
				depth++
			case c == '}' || c == ']':
				if depth--; depth == 0 {
					l.size = at + 1
					if l.array == atStart {
						l.array = noArray
					} else if l.array != noArray {
						l.array = wantComma
					}
					return b[:at+1], nil
				}
			}
		}
		if l.w.EOF() {
			return nil, errEnd
		}
		if err := l.w.Fill(); err != nil {
			return nil, err
		}
	}
}
