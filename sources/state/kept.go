package state

import (
	"errors"
	"fmt"
	"os"

	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
)

// Kept reports whether all files of a checkpoint that a log names are there. The log
// goes further back than the state does: files go with the checkpoint that is not kept
// any more, records only with the whole segment that they stand in.
func Kept(fs vfsx.FS, dir string, c microbatch.Checkpointed) (bool, error) {
	ms, err := decodeManifests(c.Manifests)
	if err != nil {
		return false, err
	}
	seen := map[string]bool{}
	for _, m := range ms {
		for _, p := range m.Parts {
			if seen[p.Name] {
				continue
			}
			seen[p.Name] = true
			_, err := fs.Stat(fs.PathJoin(dir, "state", p.Name))
			if errors.Is(err, os.ErrNotExist) {
				return false, nil
			}
			if err != nil {
				return false, fmt.Errorf("look for the state after batch %d: %w", c.Batch, err)
			}
		}
	}
	return true, nil
}
