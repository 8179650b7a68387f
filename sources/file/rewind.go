package file

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sources"
)

var _ sources.Rewinder = (*stream)(nil)

// Rewind implements sources.Rewinder. A file that was removed after it had been read
// is missing; that it was read is in the log until the log is compacted.
func (s *source) Rewind(ctx context.Context, from, to batch.Offset, limit sources.Limit) ([]batch.Offset, error) {
	a, err := position(from)
	if err != nil {
		return nil, err
	}
	b, err := position(to)
	if err != nil {
		return nil, err
	}
	if a == b {
		return nil, nil
	}
	listed, err := s.t.list(ctx, s.now())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.mu.log
	if a < log.start && !log.unrelease() {
		return nil, batch.UserErrorf("table %q: of the first %d files that it was read from some are gone, and position %d cannot be gone back to", s.t.spec.Table, log.start, a)
	}
	if err := s.coversLocked(a); err != nil {
		return nil, err
	}
	if err := s.coversLocked(b); err != nil || a > b {
		return nil, cmp.Or(err, error(batch.UserErrorf("table %q: position %d lies behind %d", s.t.spec.Table, a, b)))
	}
	there := make(map[string]entry, len(listed))
	for _, e := range listed {
		there[e.Path] = e
	}
	var out []batch.Offset
	left := rewinding(limit)
	for i, e := range log.entries[a-log.start : b-log.start] {
		if e.gone() {
			continue
		}
		if is, ok := there[e.Path]; !ok || is != e {
			return nil, batch.UserErrorf("table %q: the file %q at position %d is gone or was changed since it was read", s.t.spec.Table, e.Path, a+int64(i))
		}
		if !left.take(e) {
			out = append(out, offset(a+int64(i)))
			left = rewinding(limit)
			left.take(e)
		}
	}
	return append(out, offset(b)), nil
}

// rewinding bounds a step, whatever the table's own options bound a batch by.
func rewinding(l sources.Limit) *bounds {
	b := &bounds{files: -1, bytes: -1}
	if l.Files > 0 {
		b.files = int64(l.Files)
	}
	if l.Bytes > 0 {
		b.bytes = l.Bytes
	}
	return b
}

// unrelease makes positions before the start readable again, if the files of all of
// them are known. Their order is lost with a compaction: the oldest come first.
func (l *fileLog) unrelease() bool {
	live := map[string]bool{}
	for _, e := range l.entries {
		live[e.Path] = true
	}
	var before []entry
	for _, path := range slices.Sorted(maps.Keys(l.seen)) {
		if !live[path] {
			before = append(before, l.seen[path])
		}
	}
	if int64(len(before)) != l.start {
		return false
	}
	slices.SortStableFunc(before, func(a, b entry) int { return cmp.Compare(a.MTime, b.MTime) })
	l.entries, l.start = append(before, l.entries...), 0
	return l.rewrite() == nil
}
