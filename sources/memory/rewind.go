package memory

import (
	"context"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sources"
)

var _ sources.Rewinder = (*source)(nil)

// rowBytes is what a row is taken to be: how large rows are is not asked.
const rowBytes = 128

// Rewind implements sources.Rewinder, as far back as the stream holds its rows.
func (s *source) Rewind(_ context.Context, from, to batch.Offset, limit sources.Limit) ([]batch.Offset, error) {
	a, err := rowsOf(from)
	if err != nil {
		return nil, err
	}
	b, err := rowsOf(to)
	if err != nil {
		return nil, err
	}
	st := &s.stream.state
	st.RLock()
	defer st.RUnlock()
	if a < b && (a < st.dropped || b > st.rows) || a > b {
		return nil, s.stream.missingLocked(a, b)
	}
	var out []batch.Offset
	for _, n := range sources.Steps(a, b, rowBytes, limit) {
		out = append(out, offsetOf(n))
	}
	return out, nil
}
