package checkpoint

import (
	"fmt"
	"strings"

	"github.com/sluice-stream/sluice/batch"
)

// Spare leaves the files of shards to who holds them, another process on the same
// folder: that one alone knows which of them are being written or still read. What
// nobody holds, as files of partitions from before a change of parallelism, anybody
// may collect. It is called before the Dir is used.
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
