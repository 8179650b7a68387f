package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sluice-stream/sluice/batch"
)

// Refresh takes the files of a plan that was never committed as they are now: a
// damaged file that stopped the query can be repaired or removed, and the query
// started again. A file that was removed and comes back is a new file.
func (s *source) Refresh(ctx context.Context, r batch.Range) (notes []string, err error) {
	if s.mu.log == nil || r.Pin != "" || r.Start == r.End {
		return nil, nil
	}
	from, err := position(r.Start)
	if err != nil {
		return nil, err
	}
	to, err := position(r.End)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(s.coversLocked(from), s.coversLocked(to)); err != nil {
		return nil, err
	}
	changed := map[int64]entry{}
	for pos := from; pos < to; pos++ {
		old := s.mu.log.entries[pos-s.mu.log.start]
		if old.gone() {
			continue
		}
		now, err := lookAgain(old)
		if err != nil {
			return nil, err
		}
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case now == old:
			continue
		case now.gone():
			notes = append(notes, fmt.Sprintf("file %q was removed before any batch had it and is left out", old.Path))
		default:
			notes = append(notes, fmt.Sprintf("file %q was changed before any batch had it and is read as it is now", old.Path))
		}
		changed[pos] = now
	}
	if len(changed) == 0 {
		return nil, nil
	}
	return notes, s.mu.log.replace(changed)
}

// lookAgain is a file as it is now. It is gone only if its folder is there: a
// folder that is gone is a disk that is not mounted.
func lookAgain(e entry) (entry, error) {
	info, err := os.Stat(e.Path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Dir(e.Path)); err == nil {
			e.Size = goneSize
		}
		return e, nil
	}
	if err != nil {
		return e, batch.ExternalError(fmt.Errorf("look at file %q: %w", e.Path, err), true)
	}
	e.Size, e.MTime = info.Size(), info.ModTime().UnixNano()
	return e, nil
}
