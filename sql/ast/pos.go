package ast

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sluice-stream/sluice/batch"
)

// Pos is a place in the user's text. Line and Col count from one, Col in
// characters; the zero Pos means that no text stands behind the node (a plan
// built by the DataFrame API).
type Pos struct {
	Offset int32 // in bytes, from zero
	Line   int32
	Col    int32
}

// Position makes every struct that embeds a Pos a carrier of it.
func (p Pos) Position() Pos { return p }

// LineCol prints the place as line:column.
func (p Pos) LineCol() string { return fmt.Sprintf("%d:%d", p.Line, p.Col) }

// IsZero says that there is no text behind the node.
func (p Pos) IsZero() bool { return p.Line == 0 }

// PosError is the error of the whole SQL front end: what is wrong, where in
// the user's text, and what to do about it.
type PosError struct {
	Pos  Pos
	Msg  string
	Hint string // a whole sentence fragment such as `did you mean "price"?`; may be empty
	Err  error  // the cause, if there is one
}

// Errorf makes a PosError at a place. A %w verb keeps the cause.
func Errorf(p Pos, format string, args ...any) *PosError {
	err := fmt.Errorf(format, args...)
	return &PosError{Pos: p, Msg: err.Error(), Err: errors.Unwrap(err)}
}

// WithHint adds what the user could do.
func (e *PosError) WithHint(format string, args ...any) *PosError {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// Error prints line:col: message; hint.
func (e *PosError) Error() string {
	var b strings.Builder
	if !e.Pos.IsZero() {
		b.WriteString(e.Pos.LineCol())
		b.WriteString(": ")
	}
	b.WriteString(e.Msg)
	if e.Hint != "" {
		b.WriteString("; ")
		b.WriteString(e.Hint)
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *PosError) Unwrap() error { return e.Err }

// As lets batch.KindOf see that the fault is in the text: a PosError is the
// user's to mend, whatever its cause.
func (e *PosError) As(target any) bool {
	t, ok := target.(**batch.Error)
	if ok {
		*t = &batch.Error{Kind: batch.User, Err: e}
	}
	return ok
}
