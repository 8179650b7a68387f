package checkpoint

import (
	"context"
	"fmt"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/statestore"
)

// Spare leaves the files of shards to who holds them, another process on the same
// folder: that one alone knows which of them are being written or still read. What
// nobody holds, as files of partitions from before a change of parallelism, anybody
// may collect. Nobody may collect at the same time.
func (d *Dir) Spare(shards []batch.Shard) {
	d.spared = make(map[string]bool, len(shards))
	for _, s := range shards {
		d.spared[filePrefix(s)] = true
	}
}

// isSpared reports whether a file belongs to a shard that is held elsewhere.
func (d *Dir) isSpared(name string) bool {
	if len(d.spared) == 0 {
		return false
	}
	f := strings.SplitN(name, ".", 3)
	return len(f) == 3 && d.spared[f[0]+"."+f[1]]
}

// filePrefix begins the names of a shard's files, without the dot behind it.
func filePrefix(s batch.Shard) string {
	return fmt.Sprintf("%s.p%d", safeName(s.Operator), s.Partition)
}

// Reachable checks, without reading it, that a file is there: in the folder, or in the
// storage if there is one.
func (d *Dir) Reachable(ctx context.Context, part statestore.Part) error {
	f, err := d.openLocal(part)
	if err == nil {
		return f.Close()
	}
	if d.remote == nil {
		return fmt.Errorf("look for %s: %w", part.Name, err)
	}
	if part.Bytes == 0 {
		return nil
	}
	var last [1]byte
	if err := d.remote.ReadAt(ctx, part.Name, last[:], part.Bytes-1); err != nil {
		return fmt.Errorf("look for %s in %s: %w", part.Name, d.remote, err)
	}
	return nil
}
