package parser

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sluice-stream/sluice/sql/ast"
)

// lexer cuts text into tokens in one pass, keeping line and column.
type lexer struct {
	text      string
	off       int
	line, col int32
	quotedIDs bool // "x" is a name
	toks      []token
}

// tokenize returns all tokens with a tokEOF at the end. It does not fail:
// what is no token is a tokIllegal.
func tokenize(text string, quotedIDs bool) []token {
	l := &lexer{text: text, line: 1, col: 1, quotedIDs: quotedIDs, toks: make([]token, 0, len(text)/5+8)}
	for l.next() {
	}
	matchParens(l.toks)
	return l.toks
}

// matchParens notes for each opening parenthesis where it closes, so that a
// look-ahead over one costs nothing.
func matchParens(toks []token) {
	var open []int
	for i := range toks {
		switch t := &toks[i]; {
		case t.kind != tokOp:
		case t.text == "(":
			open = append(open, i)
		case t.text == ")" && len(open) > 0:
			toks[open[len(open)-1]].match = int32(i)
			open = open[:len(open)-1]
		}
	}
}

func (l *lexer) pos() ast.Pos {
	return ast.Pos{Offset: int32(l.off), Line: l.line, Col: l.col}
}

// advance moves n bytes on and counts lines and characters.
func (l *lexer) advance(n int) {
	for _, c := range []byte(l.text[l.off : l.off+n]) {
		switch {
		case c == '\n':
			l.line++
			l.col = 1
		case c < 0x80 || c >= 0xC0: // not the inside of a UTF-8 sequence
			l.col++
		}
	}
	l.off += n
}

func (l *lexer) peek(i int) byte {
	if l.off+i < len(l.text) {
		return l.text[l.off+i]
	}
	return 0
}

// emit adds the token of the next n bytes.
func (l *lexer) emit(kind tokenKind, n int, text string) {
	t := token{kind: kind, pos: l.pos(), text: text, end: int32(l.off + n)}
	if kind == tokWord {
		t.word = upper(text)
	}
	l.advance(n)
	l.toks = append(l.toks, t)
}

func (l *lexer) illegal(n int, msg string, open bool) {
	l.emit(tokIllegal, n, msg)
	l.toks[len(l.toks)-1].open = open
}

// upper folds keywords; names outside ASCII are never keywords. The frequent
// ones come out of a table, without an allocation for each use.
func upper(s string) string {
	var buf [20]byte
	lower := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'a' <= c && c <= 'z' {
			lower = true
			c -= 'a' - 'A'
		}
		if i < len(buf) {
			buf[i] = c
		}
	}
	if !lower {
		return s
	}
	if len(s) <= len(buf) {
		if w, ok := folded[string(buf[:len(s)])]; ok {
			return w
		}
	}
	return strings.ToUpper(s)
}

// next adds one token; it is false after the end.
func (l *lexer) next() bool {
	if !l.skipBlank() {
		return true
	}
	if l.off >= len(l.text) {
		l.emit(tokEOF, 0, "")
		return false
	}
	c := l.text[l.off]
	switch {
	case c == '\'':
		l.quoted(0, '\'', true, tokString)
	case c == '"' && l.quotedIDs:
		l.name('"')
	case c == '"':
		l.quoted(0, '"', true, tokString)
	case c == '`':
		l.name('`')
	case (c == 'r' || c == 'R') && (l.peek(1) == '\'' || l.peek(1) == '"' && !l.quotedIDs):
		l.quoted(1, l.peek(1), false, tokString)
	case (c == 'x' || c == 'X') && (l.peek(1) == '\'' || l.peek(1) == '"' && !l.quotedIDs):
		l.quoted(1, l.peek(1), false, tokBinary)
	case (c == 'x' || c == 'X') && l.quoteBehindBlanks() > 0:
		n := l.quoteBehindBlanks()
		l.quoted(n, l.peek(n), false, tokBinary)
	case isDigit(c) || c == '.' && isDigit(l.peek(1)) && !l.afterName():
		l.number()
	case isWordStart(c):
		l.word()
	case c == ':' && isWordStart(l.peek(1)) && !l.afterName():
		n := 1
		for l.off+n < len(l.text) && isWordPart(l.text[l.off+n]) {
			n++
		}
		l.emit(tokParam, n, l.text[l.off+1:l.off+n])
	default:
		l.operator()
	}
	return true
}

// quoteBehindBlanks is how far behind the character here a string starts, with
// nothing but blanks between; 0 if none does.
func (l *lexer) quoteBehindBlanks() int {
	n := 1
	for l.peek(n) == ' ' {
		n++
	}
	if l.peek(n) == '\'' {
		return n
	}
	return 0
}

// afterName says that the token before ends a value, with no space between, so
// that a dot here is a field access and a colon belongs to a STRUCT type.
func (l *lexer) afterName() bool {
	if len(l.toks) == 0 {
		return false
	}
	t := &l.toks[len(l.toks)-1]
	if int(t.end) != l.off {
		return false
	}
	return t.kind == tokWord || t.kind == tokQuoted || t.is("]") || t.is(")")
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isWordStart(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c >= 0x80
}
func isWordPart(c byte) bool { return isWordStart(c) || isDigit(c) || c == '$' }

// skipBlank passes over space and comments. It is false if it had to add an
// illegal token.
func (l *lexer) skipBlank() bool {
	for l.off < len(l.text) {
		switch c := l.text[l.off]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
			l.advance(1)
		case c == '-' && l.peek(1) == '-':
			n := strings.IndexByte(l.text[l.off:], '\n')
			if n < 0 {
				n = len(l.text) - l.off
			}
			l.advance(n)
		case c == '/' && l.peek(1) == '*':
			n, ok := commentEnd(l.text[l.off:])
			if !ok {
				l.illegal(len(l.text)-l.off, "the comment that starts here has no end (*/)", true)
				return false
			}
			l.advance(n)
		case c >= 0x80:
			r, n := utf8.DecodeRuneInString(l.text[l.off:])
			if !unicode.IsSpace(r) && r != '\uFEFF' {
				return true
			}
			l.advance(n)
		default:
			return true
		}
	}
	return true
}

// commentEnd finds the length of a comment; comments nest.
func commentEnd(s string) (int, bool) {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return i + 1, true
			}
		}
	}
	return 0, false
}

// word reads a name or keyword.
func (l *lexer) word() {
	n := 0
	for l.off+n < len(l.text) && isWordPart(l.text[l.off+n]) {
		if l.text[l.off+n] < 0x80 {
			n++
			continue
		}
		r, size := utf8.DecodeRuneInString(l.text[l.off+n:])
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) {
			if n == 0 {
				l.illegal(size, "unexpected character "+quoteRune(r, l.text[l.off:l.off+size]), false)
				return
			}
			break
		}
		n += size
	}
	l.emit(tokWord, n, l.text[l.off:l.off+n])
}

func quoteRune(r rune, raw string) string {
	if r == utf8.RuneError {
		return "in text that is not UTF-8"
	}
	if looksLikeQuote := strings.ContainsRune("‘’“”", r); looksLikeQuote {
		return "'" + raw + "'; strings are quoted with '"
	}
	return "'" + raw + "'"
}

// number reads digits, fraction, exponent and Spark's suffixes; the suffix
// stays in the text.
func (l *lexer) number() {
	n := 0
	run := func() {
		for l.off+n < len(l.text) && isDigit(l.text[l.off+n]) {
			n++
		}
	}
	run()
	if l.peek(n) == '.' && !isWordStart(l.peek(n+1)) || l.peek(n) == '.' && isExponent(l.text[l.off+n+1:]) {
		n++
		run()
	}
	if isExponent(l.text[l.off+n:]) {
		n++
		if c := l.peek(n); c == '+' || c == '-' {
			n++
		}
		run()
	}
	m := n
	for l.off+m < len(l.text) && isWordPart(l.text[l.off+m]) {
		m++
	}
	switch upper(l.text[l.off+n : l.off+m]) {
	case "", "L", "S", "Y", "D", "F", "BD":
		l.emit(tokNumber, m, upper(l.text[l.off:l.off+m]))
	default:
		if n > 0 && strings.Trim(l.text[l.off:l.off+n], "0123456789") == "" { // 2012_s is a name, as in Spark
			l.emit(tokWord, m, l.text[l.off:l.off+m])
			return
		}
		l.illegal(m, "\""+l.text[l.off:l.off+m]+"\" is neither a number nor a name; quote a name that starts with a digit as `"+
			l.text[l.off:l.off+m]+"`", false)
	}
}

// isExponent says whether s starts with e, a sign perhaps, and a digit.
func isExponent(s string) bool {
	if s == "" || s[0] != 'e' && s[0] != 'E' {
		return false
	}
	s = s[1:]
	if s != "" && (s[0] == '+' || s[0] == '-') {
		s = s[1:]
	}
	return s != "" && isDigit(s[0])
}

// operators, the longest first.
var operators = []string{
	"<=>", ">>>", "||", "|>", "<=", ">=", "<>", "!=", "==", "<<", ">>", "->", "=>", "::", "{-", "-}",
	"(", ")", ",", ";", ".", "+", "-", "*", "/", "%", "=", "<", ">", "!", "&", "|", "^", "~", "[", "]", "{", "}", "?", ":", "$",
}

// operatorsBy holds them by their first byte.
var operatorsBy = func() (by [256][]string) {
	for _, op := range operators {
		by[op[0]] = append(by[op[0]], op)
	}
	return by
}()

func (l *lexer) operator() {
	rest := l.text[l.off:]
	for _, op := range operatorsBy[rest[0]] {
		if strings.HasPrefix(rest, op) {
			switch op {
			case "!=":
				l.emit(tokOp, 2, "<>")
			case "==":
				l.emit(tokOp, 2, "=")
			default:
				l.emit(tokOp, len(op), op)
			}
			return
		}
	}
	l.illegal(1, "unexpected character '"+l.text[l.off:l.off+1]+"'", false)
}
