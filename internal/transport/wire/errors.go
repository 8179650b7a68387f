package wire

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	pb "github.com/sluice-stream/sluice/internal/transport/wire/wirepb"
)

// known are the errors that somebody asks for with errors.Is across nodes. Names are
// part of the protocol.
var known = []struct {
	name string
	err  error
}{
	{"canceled", context.Canceled},
	{"deadline", context.DeadlineExceeded},
	{"fenced", batch.ErrFenced},
	{"given-up", batch.ErrGivenUp},
	{"gone", transport.ErrGone},
	{"no-quota", syscall.EDQUOT},
	{"no-space", syscall.ENOSPC},
}

// textMax bounds the text of an error on its way.
const textMax = 16 << 10

// errorOut keeps of an error what decisions are made by.
func errorOut(err error) *pb.Error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if len(text) > textMax {
		text = text[:textMax] + " .."
	}
	out := &pb.Error{Text: strings.ToValidUTF8(text, "\uFFFD")}
	var e *batch.Error
	if errors.As(err, &e) {
		out.Marked, out.Kind, out.Retry = true, int32(e.Kind), e.Retry
	}
	for _, k := range known {
		if errors.Is(err, k.err) {
			out.Is = append(out.Is, k.name)
		}
	}
	return out
}

// errorIn is the inverse of errorOut, as far as one can tell the errors apart.
func errorIn(e *pb.Error) error {
	if e == nil {
		return nil
	}
	var err error = &remoteError{text: e.GetText()}
	for _, k := range known {
		for _, name := range e.GetIs() {
			if name == k.name {
				r := err.(*remoteError)
				r.is = append(r.is, k.err)
			}
		}
	}
	if !e.GetMarked() {
		return err
	}
	kind := batch.Kind(e.GetKind())
	if kind != batch.User && kind != batch.External {
		kind = batch.Internal
	}
	return &batch.Error{Kind: kind, Retry: e.GetRetry(), Err: err}
}

// remoteError is an error of another process.
type remoteError struct {
	text string
	is   []error
}

func (e *remoteError) Error() string { return e.text }

// Unwrap returns the errors known to both ends that it wraps.
func (e *remoteError) Unwrap() []error { return e.is }

// gone is what is said of a node that is not there.
func gone(what string, id transport.NodeID, why string) error {
	return batch.ExternalError(fmt.Errorf("%s node %q: %w (%s)", what, id, transport.ErrGone, why), true)
}
