package batch

import (
	"errors"
	"fmt"
)

// Kind says whose fault an error is, which decides what the driver does with it.
type Kind int

// The kinds of error.
const (
	Internal Kind = iota // a broken invariant or a bug: stop, never retry
	User                 // the query, its options or its data: stop and say what to change
	External             // a disk, broker or peer: retry where Retry says so
)

// String names the kind in lower case.
func (k Kind) String() string {
	switch k {
	case User:
		return "user"
	case External:
		return "external"
	default:
		return "internal"
	}
}

// Error attaches a kind and a retry hint to an error at the driver's edge.
type Error struct {
	Kind  Kind
	Retry bool
	Err   error
}

// Error prints the wrapped error alone: kind and hint are for programs.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the wrapped error.
func (e *Error) Unwrap() error { return e.Err }

// UserErrorf makes an error that the user can mend.
func UserErrorf(format string, args ...any) error {
	return &Error{Kind: User, Err: fmt.Errorf(format, args...)}
}

// External marks err as coming from outside; retry says whether trying again may help.
func ExternalError(err error, retry bool) error {
	return &Error{Kind: External, Retry: retry, Err: err}
}

// ErrGivenUp is what a reader is told who follows rows of a task while they are made,
// when the attempt that made them was given up. Another attempt may make them again.
var ErrGivenUp = errors.New("the attempt at it was given up")

// KindOf returns the kind of the outermost *Error in err's chain, else Internal.
func KindOf(err error) (k Kind, retry bool) {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind, e.Retry
	}
	return Internal, false
}

// ErrFenced is returned by a log or a sink when a newer term has written.
var ErrFenced = errors.New("fenced by a newer term")
