package parser

import "github.com/sluice-stream/sluice/sql/ast"

// tokenKind says what a token is.
type tokenKind uint8

const (
	tokEOF tokenKind = iota
	tokWord
	tokQuoted // `name`, or "name" under the option
	tokString
	tokNumber
	tokBinary // X'..'
	tokParam  // :name; ? is an operator
	tokOp
	tokIllegal // text holds the message
)

// token is one word of the text. Illegal ones are an error only once the
// parser comes to them, so that SET may take a value that is no token.
type token struct {
	kind tokenKind
	pos  ast.Pos
	end  int32 // offset behind the token
	// match is the index of the closing parenthesis of an opening one; zero if
	// it is never closed.
	match int32
	text  string // decoded: without quotes and escapes
	word  string // upper case, of a tokWord
	open  bool   // an illegal token that more text could mend
}

// is says whether the token is this operator or keyword.
func (t *token) is(s string) bool {
	return t.kind == tokOp && t.text == s || t.kind == tokWord && t.word == s
}
