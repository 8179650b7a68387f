package csv

import (
	"bytes"
	"errors"

	"github.com/sluice-stream/sluice/formats"
)

// field is a part of the window's bytes. Its text is clean unless escaped.
type field struct {
	start, end int
	quoted     bool
	escaped    bool
}

var (
	errQuote = errors.New("a quoted field is not closed")
	errAfter = errors.New("text behind the closing quote of a field")
)

// records cuts the window into records.
type records struct {
	c      config
	w      *formats.Window
	fields []field
	line   int64 // line on which the record in hand starts, counted from 1
	next   int64 // line behind it
	size   int   // bytes of the record in hand with its line end
	at     int64 // offset of the record in hand in the piece
	clean  []byte
}

// step makes the next record the one in hand; false at the end.
func (r *records) step() (bool, error) {
	r.w.Advance(r.size)
	r.at += int64(r.size)
	r.size = 0
	for {
		b := r.w.Bytes()
		if len(b) == 0 && r.w.EOF() {
			return false, nil
		}
		n, lines, err := r.scan(b, r.w.EOF())
		if err != nil {
			r.line = r.next
			return false, err
		}
		if n > 0 {
			r.line, r.next, r.size = r.next, r.next+lines, n
			return true, nil
		}
		if err := r.w.Fill(); err != nil {
			r.line = r.next
			return false, err
		}
	}
}

// resync makes the line at which no record could be read the one in hand, so that
// reading goes on behind it; false if it has no end in sight.
func (r *records) resync() bool {
	b := r.w.Bytes()
	n := bytes.IndexByte(b, '\n') + 1
	if n == 0 {
		if !r.w.EOF() || len(b) == 0 {
			return false
		}
		n = len(b)
	}
	r.fields, r.size = r.fields[:0], n
	r.line, r.next = r.next, r.next+1
	return true
}

// scan finds the fields of the record that b starts with and returns its
// length, or 0 if it needs more bytes.
func (r *records) scan(b []byte, eof bool) (n int, lines int64, err error) {
	r.fields = r.fields[:0]
	i := 0
	for {
		if r.c.hasQuote && i < len(b) && b[i] == r.c.quote {
			f, next, nl, err := r.quoted(b, i, eof)
			if next < 0 || err != nil {
				return 0, 0, err
			}
			lines += nl
			r.fields = append(r.fields, f)
			i = next
		} else {
			start := i
			i = r.c.ends.Find(b, i)
			r.fields = append(r.fields, r.plain(b, start, i))
		}
		if i == len(b) {
			if !eof {
				return 0, 0, nil
			}
			return i, lines, nil
		}
		if b[i] == '\n' {
			return i + 1, lines + 1, nil
		}
		i++ // the delimiter
	}
}

// plain makes an unquoted field, without the carriage return before a line end.
func (r *records) plain(b []byte, start, end int) field {
	if end > start && b[end-1] == '\r' && (end == len(b) || b[end] == '\n') {
		end--
	}
	if r.c.trim {
		for start < end && (b[start] == ' ' || b[start] == '\t') {
			start++
		}
		for start < end && (b[end-1] == ' ' || b[end-1] == '\t') {
			end--
		}
	}
	return field{start: start, end: end}
}

// quoted reads the quoted field at i; next is -1 if it needs more bytes.
func (r *records) quoted(b []byte, i int, eof bool) (f field, next int, lines int64, err error) {
	f = field{start: i + 1, quoted: true}
	q, esc := r.c.quote, r.c.escape
	for j := i + 1; j < len(b); j++ {
		switch c := b[j]; {
		case c == esc && esc != q:
			f.escaped = true
			j++
			if j < len(b) && b[j] == '\n' {
				lines++
			}
		case c == q:
			if esc == q && j+1 < len(b) && b[j+1] == q {
				f.escaped = true
				j++
				continue
			}
			if j+1 == len(b) && !eof {
				return f, -1, 0, nil // a second quote may follow
			}
			f.end = j
			j++
			if j < len(b) && b[j] == '\r' && (j+1 == len(b) || b[j+1] == '\n') {
				if j+1 == len(b) && !eof {
					return f, -1, 0, nil
				}
				j++
			}
			if j < len(b) && b[j] != r.c.delim && b[j] != '\n' {
				return f, 0, 0, errAfter
			}
			return f, j, lines, nil
		case c == '\n':
			if !r.c.multiline {
				return f, 0, 0, errQuote
			}
			lines++
		}
	}
	if eof {
		return f, 0, 0, errQuote
	}
	return f, -1, 0, nil
}

// value returns a field's text, valid until the next one is asked for.
func (r *records) value(f field) []byte {
	b := r.w.Bytes()[f.start:f.end]
	if !f.escaped {
		return b
	}
	r.clean = r.clean[:0]
	for i := 0; i < len(b); i++ {
		if b[i] == r.c.escape && i+1 < len(b) {
			i++
		}
		r.clean = append(r.clean, b[i])
	}
	return r.clean
}

// blank reports whether the record in hand is an empty line.
func (r *records) blank() bool {
	return len(r.fields) == 1 && !r.fields[0].quoted && r.fields[0].start == r.fields[0].end
}

func (r *records) comment() bool {
	return r.c.hasComment && r.size > 0 && r.w.Bytes()[0] == r.c.comment
}

// isNull reports whether a field means NULL.
func (r *records) isNull(f field) bool {
	return !f.quoted && f.end-f.start == len(r.c.null) && string(r.w.Bytes()[f.start:f.end]) == r.c.null
}
