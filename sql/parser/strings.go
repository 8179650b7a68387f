package parser

import (
	"encoding/hex"
	"strconv"
	"strings"
	"unicode/utf8"
)

// quoted reads a string whose quote stands prefix bytes on. Strings that
// follow one another are one string, as in Spark; a doubled quote is a quote.
func (l *lexer) quoted(prefix int, q byte, escapes bool, kind tokenKind) {
	body := l.text[l.off+prefix+1:]
	n := 0
	for {
		if n >= len(body) {
			l.illegal(len(l.text)-l.off, "the string that starts here has no closing "+string(rune(q)), true)
			return
		}
		if body[n] == '\\' && escapes {
			n += 2
			continue
		}
		if body[n] == q {
			if escapes && n+1 < len(body) && body[n+1] == q {
				n += 2
				continue
			}
			break
		}
		n++
	}
	raw := body[:n]
	size := prefix + 1 + n + 1
	switch {
	case kind == tokBinary:
		text := raw
		if len(text)%2 == 1 {
			text = "0" + text
		}
		b, err := hex.DecodeString(text)
		if err != nil {
			l.illegal(size, "X'..' must hold hexadecimal digits", false)
			return
		}
		l.emit(tokBinary, size, string(b))
	case escapes:
		l.emit(tokString, size, unescape(raw, q))
	default:
		l.emit(tokString, size, raw)
	}
}

// unescape follows Spark: the usual escapes, \uXXXX, \UXXXXXXXX and octal; \%
// and \_ stay for LIKE; any other \c is c.
func unescape(s string, q byte) string {
	if strings.IndexByte(s, '\\') < 0 && strings.IndexByte(s, q) < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		c := s[i]
		if c == q { // always doubled here
			b.WriteByte(q)
			i += 2
			continue
		}
		if c != '\\' || i+1 >= len(s) {
			b.WriteByte(c)
			i++
			continue
		}
		i += escape(&b, s[i:])
	}
	return b.String()
}

// escape writes one escape sequence and returns its length.
func escape(b *strings.Builder, s string) int {
	if n, base := numericEscape(s); n > 0 {
		digits := s[2:n]
		if base == 8 {
			digits = s[1:n]
		}
		v, err := strconv.ParseUint(digits, base, 32)
		switch {
		case err == nil && base == 8:
			b.WriteByte(byte(v))
			return n
		case err == nil && v <= utf8.MaxRune:
			b.WriteRune(rune(v))
			return n
		}
	}
	switch c := s[1]; c {
	case '0':
		b.WriteByte(0)
	case 'b':
		b.WriteByte('\b')
	case 'n':
		b.WriteByte('\n')
	case 'r':
		b.WriteByte('\r')
	case 't':
		b.WriteByte('\t')
	case 'Z':
		b.WriteByte(0x1A)
	case '%', '_':
		b.WriteByte('\\')
		b.WriteByte(c)
	default:
		b.WriteByte(c)
	}
	return 2
}

// numericEscape gives the length and base of \uXXXX, \UXXXXXXXX and \ooo, or
// zero.
func numericEscape(s string) (n, base int) {
	count := func(from, want int, set string) bool {
		return len(s) >= from+want && strings.Trim(s[from:from+want], set) == ""
	}
	const hexDigits = "0123456789abcdefABCDEF"
	switch {
	case s[1] == 'u' && count(2, 4, hexDigits):
		return 6, 16
	case s[1] == 'U' && count(2, 8, hexDigits):
		return 10, 16
	case (s[1] == '0' || s[1] == '1') && count(2, 2, "01234567"):
		return 4, 8
	}
	return 0, 0
}

// name reads a quoted name; a doubled quote is a quote.
func (l *lexer) name(q byte) {
	body := l.text[l.off+1:]
	n := 0
	for {
		i := strings.IndexByte(body[n:], q)
		if i < 0 {
			l.illegal(len(l.text)-l.off, "the name that starts here has no closing "+string(rune(q)), true)
			return
		}
		n += i
		if n+1 < len(body) && body[n+1] == q {
			n += 2
			continue
		}
		break
	}
	if n == 0 {
		l.illegal(2, "a quoted name must not be empty", false)
		return
	}
	qq := string(rune(q))
	l.emit(tokQuoted, n+2, strings.ReplaceAll(body[:n], qq+qq, qq))
}
