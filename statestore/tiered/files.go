package tiered

import (
	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/statestore"
)

var _ statestore.FileMeter = (*Store)(nil)

// Files tells where the files of the rows have come from.
func (s *Store) Files() batch.FileUse {
	if s.dir == nil {
		return batch.FileUse{}
	}
	return s.dir.Files()
}
