package planner

import (
	"errors"

	"github.com/sluice-stream/sluice/planner/incremental"
)

// modeError refuses an output's mode.
type modeError struct {
	error
	mode string
}

func (e *modeError) Unwrap() error { return e.error }

// wait says how an output's rows wait for the watermark if its mode cannot be had
// at once.
type wait struct {
	final bool // what would change waits until it is final, although the mode is update
	over  bool // window functions wait too, see incremental.AtWatermark
}

// Build plans a query. Errors are the user's: they say which operator cannot be
// had in the mode asked for, and why. Where a mode refuses what a query puts out at
// once, it is planned to put it out when the watermark has passed it.
func Build(outputs []Output, opts Options) (*Query, error) {
	waits := make([]wait, len(outputs))
	q, at, err := buildWith(outputs, opts, waits)
	first := err
	for err != nil {
		var refused *modeError
		if !opts.Stream || !errors.As(err, &refused) || !waits[at].more(refused.mode) {
			return nil, first
		}
		q, at, err = buildWith(outputs, opts, waits)
	}
	return q, nil
}

// more goes over to the next way of waiting, if there is one.
func (w *wait) more(mode string) bool {
	switch {
	case mode == "update" && !w.final:
		w.final = true
	case !w.over:
		w.over = true
	default:
		return false
	}
	return true
}

// waiting puts an output's plan in the form that waits.
func (b *builder) waiting(out *Output, w wait) {
	if w.over {
		out.Node = incremental.AtWatermark(out.Node)
	}
}
