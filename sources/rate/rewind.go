package rate

import (
	"context"
	"fmt"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sources"
)

var _ sources.Rewinder = (*source)(nil)

// rowBytes is what a row takes in memory.
const rowBytes = 16

// Rewind implements sources.Rewinder: a position says when the query began, so that
// every row can be made again.
func (s *source) Rewind(_ context.Context, from, to batch.Offset, limit sources.Limit) ([]batch.Offset, error) {
	if from == to {
		return nil, nil
	}
	end, err := parsePosition(to)
	if err != nil {
		return nil, err
	}
	at := position{Start: end.Start}
	if from != "" {
		if at, err = parsePosition(from); err != nil {
			return nil, err
		}
	}
	if at.Start != end.Start || at.Value > end.Value {
		return nil, fmt.Errorf("%s: %q does not lie before %q", s.spec, from, to)
	}
	var out []batch.Offset
	for _, n := range sources.Steps(at.Value, end.Value, rowBytes, limit) {
		at.Value = n
		out = append(out, at.offset())
	}
	return out, nil
}
