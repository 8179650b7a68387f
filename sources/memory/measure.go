package memory

import (
	"strconv"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sources"
)

var _ sources.Measurer = (*source)(nil)

// Metrics tells how many rows behind a position have been added.
func (s *source) Metrics(at batch.Offset) map[string]string {
	n, err := rowsOf(at)
	if err != nil {
		return nil
	}
	s.stream.state.RLock()
	defer s.stream.state.RUnlock()
	return map[string]string{"numRowsOutstanding": strconv.FormatInt(max(s.stream.state.rows-n, 0), 10)}
}
