package driver

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/internal/transport"
)

// spread spreads partitions over workers: each gets as many as any other, or one
// more. Which they are is drawn from the worker's name and the partition's number
// (rendezvous hashing), so that most stay where they are when a worker comes or
// goes. It returns the index of each partition's worker.
func spread(workers []transport.NodeID, parts int) []int {
	out := make([]int, parts)
	if len(workers) < 2 {
		return out
	}
	least, extra := parts/len(workers), parts%len(workers)
	has := make([]int, len(workers))
	for p := range parts {
		best, bestScore := -1, uint64(0)
		for i, w := range workers {
			if has[i] > least || has[i] == least && extra == 0 {
				continue
			}
			if s := score(w, p); best < 0 || s > bestScore {
				best, bestScore = i, s
			}
		}
		if has[best] == least {
			extra--
		}
		has[best]++
		out[p] = best
	}
	return out
}

func score(w transport.NodeID, partition int) uint64 {
	b := binary.LittleEndian.AppendUint64([]byte(w), uint64(partition))
	return xxh3.Hash(b)
}
