package file

import (
	"strconv"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sources"
)

var _ sources.Measurer = (*stream)(nil)

// Metrics tells how many files behind a position are known and not read, with Spark's
// names. While the folder is listed it says what it said last.
func (s *stream) Metrics(at batch.Offset) map[string]string {
	from, err := position(at)
	if err != nil {
		return nil
	}
	if told := s.told.Load(); s.listing.Load() && told != nil {
		return *told
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	files, bytes := 0, int64(0)
	count := func(es []entry) {
		for _, e := range es {
			if !e.gone() {
				files, bytes = files+1, bytes+e.Size
			}
		}
	}
	log := s.mu.log
	count(log.entries[min(max(from-log.start, 0), int64(len(log.entries))):])
	count(s.mu.pending)
	out := map[string]string{"numFilesOutstanding": strconv.Itoa(files), "numBytesOutstanding": strconv.FormatInt(bytes, 10)}
	s.told.Store(&out)
	return out
}
