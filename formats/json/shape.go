package json

import (
	"bytes"
	"encoding/binary"
)

// step is a key that was found at a place in an object: its text with quotes and colon,
// as it mostly stands there again in the next one.
type step struct {
	text  []byte
	field int // -1: nobody asks for it
	// The first eight bytes of the text and the last, of one that is so long and no longer
	// than both.
	head, tail uint64
}

func newStep(text []byte, field int) step {
	st := step{text: bytes.Clone(text), field: field}
	if n := len(text); n >= 8 && n <= 16 {
		st.head, st.tail = binary.LittleEndian.Uint64(text), binary.LittleEndian.Uint64(text[n-8:])
	}
	return st
}

// begins reports whether b begins with the step's text.
func (st *step) begins(b []byte) bool {
	n := len(st.text)
	if n < 8 || n > 16 || len(b) < n {
		return bytes.HasPrefix(b, st.text)
	}
	return binary.LittleEndian.Uint64(b) == st.head && binary.LittleEndian.Uint64(b[n-8:]) == st.tail
}

const (
	// shapeMax is how many keys of an object are remembered, learnMax how often: where
	// each object is another one it is not worth it.
	shapeMax = 256
	learnMax = 4096
)

// read notes the values of an object's fields, as scanner.object and note do, standing
// on its brace. Keys that come in the order of the object before are not taken apart,
// and what nobody asks for is skipped.
func (o *object) read(d *Decoder, values []found) error {
	s := &d.line
	s.pos++
	if s.blank(); s.pos < len(s.b) && s.b[s.pos] == '}' {
		s.pos++
		return nil
	}
	for at := 0; ; at++ {
		if s.pos < len(s.b) && s.b[s.pos] <= ' ' {
			s.blank()
		}
		field := -1
		if at < len(o.shape) && o.shape[at].begins(s.b[s.pos:]) {
			field = o.shape[at].field
			s.pos += len(o.shape[at].text)
		} else {
			var err error
			if field, err = o.key(d, at); err != nil {
				return err
			}
		}
		val, err := s.value(1)
		if err != nil {
			return err
		}
		if field >= 0 { // the last of equal keys wins
			values[field] = val
		}
		if done, err := s.next('}'); done || err != nil {
			return err
		}
	}
}

// key reads a key and its colon, and remembers it as the one that is at this place.
func (o *object) key(d *Decoder, at int) (field int, err error) {
	s := &d.line
	if s.pos == len(s.b) {
		return 0, errEnd
	}
	if s.b[s.pos] != '"' {
		return 0, errKey
	}
	from := s.pos
	if _, err := s.str(); err != nil {
		return 0, err
	}
	to := s.pos
	if s.blank(); s.pos == len(s.b) {
		return 0, errEnd
	}
	if s.b[s.pos] != ':' {
		return 0, errColon
	}
	s.pos++
	name := s.b[from+1 : to-1]
	escaped := bytes.IndexByte(name, '\\') >= 0
	if escaped {
		d.tmp = unquote(d.tmp[:0], s.b[from:to])
		name = d.tmp
	}
	field, ok := o.index[string(name)]
	if !ok {
		field = -1
	}
	if s.pos == to+1 && !escaped && at <= len(o.shape) && at < shapeMax && o.learnt < learnMax {
		o.learnt++
		if at == len(o.shape) {
			o.shape = append(o.shape, step{})
		}
		o.shape[at] = newStep(s.b[from:s.pos], field)
	}
	return field, nil
}
