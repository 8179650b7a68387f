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

// span is a part of the line.
type span struct{ from, to int }

// found is a value in the line, and what was seen of it when its syntax was checked, so
// that nobody has to look again.
type found struct {
	span
	whole int64 // of a wholeNumber
	form  form
}

type form uint8

const (
	absent      form = iota // of a field that the object has not
	null                    // which is a field without a value, too
	plainText               // a string without escapes
	escapedText             // one with
	wholeNumber             // of so few digits that whole holds it
	other
)

// value skips one value, checking its syntax.
func (s *scanner) value(depth int) (v found, err error) {
	if s.pos < len(s.b) && s.b[s.pos] <= ' ' {
		s.blank()
	}
	if s.pos == len(s.b) {
		return v, errEnd
	}
	v.from = s.pos
	switch c := s.b[s.pos]; {
	case c == '"':
		if end, ascii := text.FindStringEnd(s.b, s.pos+1); ascii && end < len(s.b) && s.b[end] == '"' {
			v.form, s.pos = plainText, end+1
			break
		}
		v.form, err = s.str()
	case c-'0' <= 9:
		v.form, v.whole, err = s.number()
	case c == '{':
		v.form, err = other, s.object(depth+1, nil)
	case c == '[':
		v.form, err = other, s.array(depth+1, nil)
	case c == '-':
		if s.pos++; s.pos == len(s.b) || s.b[s.pos]-'0' > 9 {
			err = errNumber
			break
		}
		v.form, v.whole, err = s.number()
		v.whole = -v.whole
	case c == 't':
		v.form, err = other, s.word("true")
	case c == 'f':
		v.form, err = other, s.word("false")
	case c == 'n':
		v.form, err = null, s.word("null")
	default:
		err = errValue
	}
	v.to = s.pos
	return v, err
}

func (s *scanner) word(w string) error {
	if len(s.b)-s.pos < len(w) || string(s.b[s.pos:s.pos+len(w)]) != w {
		return errValue
	}
	s.pos += len(w)
	return nil
}

// str skips a string, standing on its quote.
func (s *scanner) str() (form, error) {
	from, f, clean := s.pos+1, plainText, true
	for i := from; ; {
		end, ascii := text.FindStringEnd(s.b, i)
		clean = clean && ascii
		if end == len(s.b) {
			s.pos = end
			return f, errEnd
		}
		switch s.b[end] {
		case '"':
			if !clean && !utf8.Valid(s.b[from:end]) {
				s.pos = from + badRune(s.b[from:end])
				return f, errUTF8
			}
			s.pos = end + 1
			return f, nil
		case '\\':
			f = escapedText
			var err error
			if i, err = s.escape(end); err != nil {
				s.pos = end
				return f, err
			}
		default:
			s.pos = end
			return f, errString
		}
	}
}

// badRune returns the place of the first byte that is no UTF-8.
func badRune(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(b)
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

// wholeDigits is how many digits every number of 64 bits can have.
const wholeDigits = 18

// number skips a number that begins with a digit; a whole one it reads.
func (s *scanner) number() (form, int64, error) {
	b, from := s.b, s.pos
	v, i := int64(b[from]-'0'), from+1
	for ; i < len(b) && b[i]-'0' <= 9; i++ {
		v = v*10 + int64(b[i]-'0') // what does not fit is thrown away
	}
	if i-from > wholeDigits || b[from] == '0' && i > from+1 || i < len(b) && (b[i] == '.' || b[i]|0x20 == 'e') {
		return other, 0, s.fraction()
	}
	s.pos = i
	return wholeNumber, v, nil
}

// fraction skips any number that begins with a digit.
func (s *scanner) fraction() error {
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

// object skips an object, telling visit of each key (in quotes) and value.
func (s *scanner) object(depth int, visit func(key span, value found)) error {
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
		if _, err := s.str(); err != nil {
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
		val, err := s.value(depth)
		if err != nil {
			return err
		}
		if visit != nil {
			visit(key, val)
		}
		if done, err := s.next('}'); done || err != nil {
			return err
		}
	}
}

// array skips an array, telling visit of each value.
func (s *scanner) array(depth int, visit func(value found)) error {
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
		val, err := s.value(depth)
		if err != nil {
			return err
		}
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
	if s.pos < len(s.b) && s.b[s.pos] <= ' ' {
		s.blank()
	}
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
