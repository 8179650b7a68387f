package rate

import (
	"strconv"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sources"
)

var _ sources.Measurer = (*source)(nil)

// Metrics tells how many rows behind a position are due.
func (s *source) Metrics(at batch.Offset) map[string]string {
	p := position{Start: s.start}
	if at != "" {
		var err error
		if p, err = parsePosition(at); err != nil {
			return nil
		}
	}
	due := s.line.due(s.clock.Now().UnixMicro() - p.Start)
	return map[string]string{
		"rowsPerSecond":      strconv.FormatInt(s.line.rate, 10),
		"numRowsOutstanding": strconv.FormatInt(max(due-p.Value, 0), 10),
	}
}
