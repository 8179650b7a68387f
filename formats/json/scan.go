package json

import (
	"bytes"
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/sluice-stream/sluice/formats/text"
)

// maxDepth bounds nesting, so that no input can exhaust the stack.
const maxDepth = 200

var (
	errEnd     = errors.New("the line ends inside a value")
	errValue   = errors.New("want a value")
	errKey     = errors.New(`want a key in double quotes`)
	errColon   = errors.New("want a colon behind the key")
	errComma   = errors.New("want a comma or the end of the object or array")
	errString  = errors.New("a control character inside a string")
	errEscape  = errors.New("an unknown escape in a string")
	errNumber  = errors.New("not a number")
	errDepth   = errors.New("nested too deep")
	errTrail   = errors.New("text behind the object")
	errObject  = errors.New("want an object")
	errUTF8    = errors.New("not valid UTF-8")
	errNewline = errors.New("the object goes on on the next line: JSON lines holds one object a line")
)

// scanner walks over one line. pos is where it stopped, for errors.
type scanner struct {
	b   []byte
	pos int
}

func (s *scanner) blank() {
	for s.pos < len(s.b) {
		switch s.b[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return
		}
	}
}

// value skips one value, checking its syntax.
func (s *scanner) value(depth int) error {
	s.blank()
	if s.pos == len(s.b) {
		return errEnd
	}
	switch c := s.b[s.pos]; {
	case c == '"':
		return s.str()
	case c == '{':
		return s.object(depth+1, nil)
	case c == '[':
		return s.array(depth+1, nil)
	case c == '-' || c-'0' <= 9:
		return s.number()
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	}
	return errValue
}

func (s *scanner) word(w string) error {
	if len(s.b)-s.pos < len(w) || string(s.b[s.pos:s.pos+len(w)]) != w {
		return errValue
	}
	s.pos += len(w)
	return nil
}

// str skips a string, standing on its quote.
func (s *scanner) str() error {
	for i := text.FindStringEnd(s.b, s.pos+1); i < len(s.b); i = text.FindStringEnd(s.b, i) {
		switch s.b[i] {
		case '"':
			s.pos = i + 1
			return nil
		case '\\':
			end, err := s.escape(i)
			if err != nil {
				s.pos = i
				return err
			}
			i = end
		default:
			s.pos = i
			return errString
		}
	}
	s.pos = len(s.b)
	return errEnd
}

// escape checks the escape at j and returns the place behind it.
func (s *scanner) escape(j int) (int, error) {
	if j+1 >= len(s.b) {
		return 0, errEnd
	}
	switch s.b[j+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return j + 2, nil
	case 'u':
		if j+6 > len(s.b) {
			return 0, errEnd
		}
		if _, ok := hex4(s.b[j+2 : j+6]); !ok {
			return 0, errEscape
		}
		return j + 6, nil
	}
	return 0, errEscape
}

func hex4(b []byte) (rune, bool) {
	var r rune
	for _, c := range b {
		switch {
		case c-'0' <= 9:
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

func (s *scanner) digits() bool {
	at := s.pos
	for s.pos < len(s.b) && s.b[s.pos]-'0' <= 9 {
		s.pos++
	}
	return s.pos > at
}

func (s *scanner) number() error {
	if s.b[s.pos] == '-' {
		s.pos++
	}
	if s.pos < len(s.b) && s.b[s.pos] == '0' {
		s.pos++
	} else if !s.digits() {
		return errNumber
	}
	if s.pos < len(s.b) && s.b[s.pos] == '.' {
		s.pos++
		if !s.digits() {
			return errNumber
		}
	}
	if s.pos < len(s.b) && s.b[s.pos]|0x20 == 'e' {
		s.pos++
		if s.pos < len(s.b) && (s.b[s.pos] == '+' || s.b[s.pos] == '-') {
			s.pos++
		}
		if !s.digits() {
			return errNumber
		}
	}
	if s.pos < len(s.b) && s.b[s.pos]-'0' <= 9 {
		return errNumber // a leading zero
	}
	return nil
}

// span is a part of the line.
type span struct{ from, to int }

// object skips an object, telling visit of each key (in quotes) and value.
func (s *scanner) object(depth int, visit func(key, value span)) error {
	if depth > maxDepth {
		return errDepth
	}
	s.pos++
	s.blank()
	if s.pos < len(s.b) && s.b[s.pos] == '}' {
		s.pos++
		return nil
	}
	for {
		s.blank()
		if s.pos == len(s.b) {
			return errEnd
		}
		if s.b[s.pos] != '"' {
			return errKey
		}
		key := span{from: s.pos}
		if err := s.str(); err != nil {
			return err
		}
		key.to = s.pos
		s.blank()
		if s.pos == len(s.b) {
			return errEnd
		}
		if s.b[s.pos] != ':' {
			return errColon
		}
		s.pos++
		s.blank()
		val := span{from: s.pos}
		if err := s.value(depth); err != nil {
			return err
		}
		val.to = s.pos
		if visit != nil {
			visit(key, val)
		}
		if done, err := s.next('}'); done || err != nil {
			return err
		}
	}
}

// array skips an array, telling visit of each value.
func (s *scanner) array(depth int, visit func(value span)) error {
	if depth > maxDepth {
		return errDepth
	}
	s.pos++
	s.blank()
	if s.pos < len(s.b) && s.b[s.pos] == ']' {
		s.pos++
		return nil
	}
	for {
		s.blank()
		val := span{from: s.pos}
		if err := s.value(depth); err != nil {
			return err
		}
		val.to = s.pos
		if visit != nil {
			visit(val)
		}
		if done, err := s.next(']'); done || err != nil {
			return err
		}
	}
}

// next reads what stands behind an element: a comma, or the end.
func (s *scanner) next(end byte) (done bool, err error) {
	s.blank()
	if s.pos == len(s.b) {
		return false, errEnd
	}
	switch s.b[s.pos] {
	case ',':
		s.pos++
		return false, nil
	case end:
		s.pos++
		return true, nil
	}
	return false, errComma
}

// unquote appends the text of a checked string, given with its quotes.
func unquote(dst, q []byte) []byte {
	q = q[1 : len(q)-1]
	for {
		i := bytes.IndexByte(q, '\\')
		if i < 0 {
			return append(dst, q...)
		}
		dst = append(dst, q[:i]...)
		q = q[i+1:]
		switch c := q[0]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, _ := hex4(q[1:5])
			q = q[4:]
			if utf16.IsSurrogate(r) {
				if len(q) >= 7 && q[1] == '\\' && q[2] == 'u' {
					if lo, ok := hex4(q[3:7]); ok {
						if full := utf16.DecodeRune(r, lo); full != utf8.RuneError {
							r = full
							q = q[6:]
						}
					}
				}
				if utf16.IsSurrogate(r) {
					r = utf8.RuneError // half a pair has no text
				}
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, c)
		}
		q = q[1:]
	}
}

// appendQuoted appends text as a JSON string.
func appendQuoted(dst []byte, v []byte) []byte {
	dst = append(dst, '"')
	for _, c := range v {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0')
			if c < 16 {
				dst = append(dst, '0')
			}
			dst = strconv.AppendInt(dst, int64(c), 16)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
