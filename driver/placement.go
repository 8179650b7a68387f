package driver

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
)

// spread spreads partitions over workers: each gets as many as any other, or one
// more. Which they are is drawn from the worker's name and the partition's number
// (rendezvous hashing), so that most stay where they are when a worker comes or
// goes. It returns the index of each partition's worker.
func spread(workers []transport.NodeID, parts int) []int {
	return arrange(workers, parts, nil, false)
}

// arrange spreads partitions over workers as spread does, but leaves them where their state
// is, and brings others to where there is a copy: at says how new it is what a worker has of
// a partition, None if it has nothing, and whether that is a copy. Loose lets a worker have
// up to twice its share for that.
func arrange(workers []transport.NodeID, parts int, at func(worker, partition int) (id batch.ID, copies bool), loose bool) []int {
	out := make([]int, parts)
	if len(workers) < 2 {
		return out
	}
	least, extra := parts/len(workers), parts%len(workers)
	has := make([]int, len(workers))
	take := func(p, worker int) {
		if has[worker] == least {
			extra--
		}
		has[worker]++
		out[p] = worker
	}
	// most is the worker of the highest rank, by score where that is the same; -1 if none may.
	most := func(p int, may func(worker int) bool, rank func(worker int) int64) int {
		found, top, topScore := -1, int64(0), uint64(0)
		for i, w := range workers {
			if !may(i) {
				continue
			}
			if r, s := rank(i), score(w, p); found < 0 || r > top || r == top && s > topScore {
				found, top, topScore = i, r, s
			}
		}
		return found
	}
	room := func(i int) bool { return has[i] < least || has[i] == least && extra > 0 }
	placed := make([]bool, parts)
	stay := func(p int, copies bool) {
		if placed[p] {
			return
		}
		may := func(i int) bool {
			id, c := at(i, p)
			return id != batch.None && c == copies && (room(i) || loose && has[i] < 2*(least+1))
		}
		w := most(p, may, func(i int) int64 { id, _ := at(i, p); return int64(id) })
		if placed[p] = w >= 0; placed[p] {
			take(p, w)
		}
	}
	for _, copies := range []bool{false, true} {
		for p := range parts {
			if at != nil {
				stay(p, copies)
			}
		}
	}
	for p := range parts {
		if placed[p] {
			continue
		}
		w := most(p, room, func(int) int64 { return 0 })
		if w < 0 { // others have more than their share
			w = most(p, func(int) bool { return true }, func(i int) int64 { return -int64(has[i]) })
		}
		take(p, w)
	}
	return out
}

func score(w transport.NodeID, partition int) uint64 {
	b := binary.LittleEndian.AppendUint64([]byte(w), uint64(partition))
	return xxh3.Hash(b)
}
