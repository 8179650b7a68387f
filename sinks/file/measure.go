package file

import (
	"strconv"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sinks"
)

var _ sinks.Measurer = (*Sink)(nil)

// Metrics tells how many files a batch has written.
func (s *Sink) Metrics(parts []batch.Prepared) map[string]string {
	m, _, err := s.t.manifestOf(0, 0, parts)
	if err != nil {
		return nil // the commit says so
	}
	bytes := int64(0)
	for _, f := range m.Files {
		bytes += f.Size
	}
	return map[string]string{"numFilesWritten": strconv.Itoa(len(m.Files)), "numBytesWritten": strconv.FormatInt(bytes, 10)}
}
