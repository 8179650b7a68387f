package functions

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonDepthMax bounds how deep a JSON text may nest; a deeper one is not read.
const jsonDepthMax = 1000

// jsonText reads a JSON text value by value, without a tree in between. Like
// Spark's reader it takes single quotes, and NaN and Infinity as numbers.
type jsonText struct {
	s     string
	at    int
	depth int
	zeros bool // numbers may begin with zeros
}

// kind returns the first character of what comes next, or 0 at the end.
func (j *jsonText) kind() byte {
	for j.at < len(j.s) {
		switch c := j.s[j.at]; c {
		case ' ', '\t', '\n', '\r':
			j.at++
		default:
			return c
		}
	}
	return 0
}

// skip passes a value over.
func (j *jsonText) skip() bool {
	switch c := j.kind(); c {
	case '{':
		return j.object(func(string) bool { return j.skip() })
	case '[':
		return j.array(j.skip)
	case '"', '\'':
		_, ok := j.quoted()
		return ok
	default:
		_, ok := j.plain()
		return ok
	}
}

// raw returns the text of the value that comes next.
func (j *jsonText) raw() (string, bool) {
	j.kind()
	start := j.at
	ok := j.skip()
	return j.s[start:j.at], ok
}

func (j *jsonText) object(field func(name string) bool) bool {
	j.at++
	if j.depth++; j.depth > jsonDepthMax {
		return false
	}
	for first := true; ; first = false {
		switch c := j.kind(); {
		case c == '}' && first:
		case c == '"' || c == '\'':
			name, ok := j.str()
			if !ok || j.kind() != ':' {
				return false
			}
			j.at++
			if !field(name) {
				return false
			}
		default:
			return false
		}
		switch j.kind() {
		case ',':
			j.at++
		case '}':
			j.at++
			j.depth--
			return true
		default:
			return false
		}
	}
}

func (j *jsonText) array(elem func() bool) bool {
	j.at++
	if j.depth++; j.depth > jsonDepthMax {
		return false
	}
	for first := true; ; first = false {
		if !(first && j.kind() == ']') && !elem() {
			return false
		}
		switch j.kind() {
		case ',':
			j.at++
		case ']':
			j.at++
			j.depth--
			return true
		default:
			return false
		}
	}
}

// quoted passes a string over and returns what is between its quotes, escapes and all.
func (j *jsonText) quoted() (string, bool) {
	q := j.kind()
	j.at++
	start := j.at
	for j.at < len(j.s) {
		switch c := j.s[j.at]; {
		case c == q:
			j.at++
			return j.s[start : j.at-1], true
		case c == '\\':
			j.at += 2
		case c < 0x20:
			return "", false
		default:
			j.at++
		}
	}
	return "", false
}

// str reads a string. Without escapes it shares the text's memory.
func (j *jsonText) str() (string, bool) {
	in, ok := j.quoted()
	if !ok || strings.IndexByte(in, '\\') < 0 {
		return in, ok
	}
	out := make([]byte, 0, len(in))
	for i := 0; i < len(in); i++ {
		if in[i] != '\\' {
			out = append(out, in[i])
			continue
		}
		if i++; i >= len(in) {
			return "", false
		}
		if k := strings.IndexByte(`"\/'bfnrt`, in[i]); k >= 0 {
			out = append(out, "\"\\/'\b\f\n\r\t"[k])
			continue
		}
		r, n := escapedRune(in[i:])
		if n == 0 {
			return "", false
		}
		out = utf8.AppendRune(out, r)
		i += n - 1
	}
	return string(out), true
}

// escapedRune reads u and four digits, twice for a pair of surrogates.
func escapedRune(s string) (rune, int) {
	r, ok := hex4(s)
	if !ok {
		return 0, 0
	}
	if utf16.IsSurrogate(r) && len(s) > 6 && s[5] == '\\' {
		if low, ok := hex4(s[6:]); ok {
			if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
				return both, 11
			}
		}
	}
	return r, 5
}

func hex4(s string) (rune, bool) {
	if len(s) < 5 || s[0] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range []byte(s[1:5]) {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// plain reads a number, true, false, null, NaN or Infinity.
func (j *jsonText) plain() (string, bool) {
	j.kind()
	start := j.at
	for j.at < len(j.s) && strings.IndexByte(",]}: \t\n\r\"'[{", j.s[j.at]) < 0 {
		j.at++
	}
	w := j.s[start:j.at]
	switch w {
	case "true", "false", "null", "NaN", "Infinity", "+Infinity", "-Infinity", "INF", "-INF", "+INF":
		return w, true
	}
	if j.zeros {
		digits := strings.TrimLeft(strings.TrimPrefix(w, "-"), "0")
		return w, jsonNumber(w) || digits == "" && w != "" || jsonNumber(digits) || jsonNumber("0"+digits)
	}
	return w, jsonNumber(w)
}

// jsonNumber reports whether a word is a number: -0.5e+3, no leading zeros.
func jsonNumber(w string) bool {
	w = strings.TrimPrefix(w, "-")
	digits := func() int {
		n := 0
		for n < len(w) && w[n] >= '0' && w[n] <= '9' {
			n++
		}
		w = w[n:]
		return n
	}
	lead := w != "" && w[0] == '0'
	if n := digits(); n == 0 || lead && n > 1 {
		return false
	}
	if strings.HasPrefix(w, ".") {
		w = w[1:]
		if digits() == 0 {
			return false
		}
	}
	if w != "" && w[0]|0x20 == 'e' {
		w = w[1:]
		if w != "" && (w[0] == '+' || w[0] == '-') {
			w = w[1:]
		}
		if digits() == 0 {
			return false
		}
	}
	return w == ""
}

// appendJSONString writes a string with its quotes.
func appendJSONString(dst []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c >= 0x20:
			dst = append(dst, c)
		default:
			if k := strings.IndexByte("\b\f\n\r\t", c); k >= 0 {
				dst = append(dst, '\\', "bfnrt"[k])
			} else {
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
		}
	}
	return append(dst, '"')
}
