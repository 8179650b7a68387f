package driver

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/microbatch"
)

// Standbys: besides its home each partition has other workers that hold copies of its state
// and follow it from commit to commit. What they have is what a life finds that begins
// without the home: the newest version that is there whole is then at most some batches
// old, which is why all workers keep that many versions.

// standbys chooses the workers that hold copies of each partition, by place. Those of one
// worker's partitions are spread over all others evenly: they all get a share of its load.
func standbys(h transport.Homes, parts, n int) [][]int {
	n = min(n, len(h.Workers)-1)
	out := make([][]int, parts)
	if n <= 0 {
		return out
	}
	has := make([][]int, len(h.Workers)) // by home: how many of its copies each worker has
	for i := range has {
		has[i] = make([]int, len(h.Workers))
	}
	for p := range parts {
		home := h.Place(p)
		taken := map[int]bool{home: true}
		for range n {
			best := -1
			for i, w := range h.Workers {
				if taken[i] {
					continue
				}
				if best < 0 || has[home][i] < has[home][best] || has[home][i] == has[home][best] && score(w, p) > score(h.Workers[best], p) {
					best = i
				}
			}
			taken[best] = true
			has[home][best]++
			out[p] = append(out[p], best)
		}
	}
	return out
}

// copy decides which workers have copies of which shards.
func (d *deployment) copy() {
	out := map[transport.NodeID][]batch.Shard{}
	at := standbys(d.homes, d.parts, d.opt.Standbys)
	for _, list := range d.shards() {
		for _, s := range list {
			for _, i := range at[s.Partition] {
				out[d.workers[i]] = append(out[d.workers[i]], s)
			}
		}
	}
	for _, list := range out {
		sortShards(list)
	}
	d.follows = out
}

// follow tells the workers with copies of a checkpoint that those can be read from.
func (d *deployment) follow(ctx context.Context, id batch.ID, ms []microbatch.Manifest) error {
	if id == batch.None || len(d.follows) == 0 {
		return nil
	}
	var errs []error
	for _, w := range d.workers {
		list := d.follows[w]
		if len(list) == 0 || d.isLost(w) {
			continue
		}
		m := transport.Follow{Key: d.key, Batch: id}
		for _, man := range ms {
			for _, s := range list {
				if man.Shard.Operator == s.Operator && man.Shard.FirstGroup < s.EndGroup && s.FirstGroup < man.Shard.EndGroup {
					m.Manifests = append(m.Manifests, []byte(man.Ref))
					break
				}
			}
		}
		if err := d.tr.Send(ctx, w, m); err != nil {
			errs = append(errs, fmt.Errorf("send %T to worker %s: %w", m, w, err))
		}
	}
	return errors.Join(errs...)
}

// followed notes how far a worker's copies are.
func (d *deployment) followed(from transport.NodeID, id batch.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.copied[from] = id
}

// copied is the version that all copies have at least; None if there is one that has
// nothing yet. ok is false without copies.
func (d *deployment) copied() (id batch.ID, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for w := range d.follows {
		is, known := d.mu.copied[w]
		if !known {
			is = batch.None
		}
		if !ok || is < id {
			id, ok = is, true
		}
	}
	return id, ok
}

// Standbys tells how far the copies of a query's state have followed it.
type Standbys struct {
	Copies int64 `json:"copies"`        // of shards, that there are to be
	Batch  int64 `json:"batchId"`       // that all of them have; -1: one has nothing yet
	Behind int64 `json:"behindBatches"` // batches that are committed and one of them does not have
}

// Standbys tells how far the copies of the state have followed it; not ok if there are to
// be none.
func (q *Query) Standbys() (s Standbys, ok bool) {
	v := q.view.Load()
	if v == nil {
		return s, false
	}
	id, ok := v.d.copied()
	if !ok {
		return s, false
	}
	for _, list := range v.d.follows {
		s.Copies += int64(len(list))
	}
	s.Batch, s.Behind = int64(id), max(int64(q.Status().Committed-id), 0)
	return s, true
}

// keepFrom is the oldest version that workers are to keep when one is committed: copies
// that are a little behind are of use only if the others can go back to what they have.
func (d *deployment) keepFrom(committed batch.ID) batch.ID {
	id, ok := d.copied()
	if !ok {
		return committed
	}
	return min(max(id, committed-microbatch.LaterMax+1), committed)
}

// fewStandbys says once in a life that there are not as many workers as copies are wanted.
func (d *deployment) fewStandbys() {
	if n := d.opt.Standbys; n >= len(d.workers) && len(d.shards()) > 0 {
		d.listen.send(Warning{Doing: "keep copies of state", Err: fmt.Errorf("state.standby-replicas is %d, and there are %d workers: each shard has %d", n, len(d.workers), max(len(d.workers)-1, 0))})
	}
}

// tellCheckpoint lets copies be read from a checkpoint that is durable.
func (q *Query) tellCheckpoint(ctx context.Context, id batch.ID, ms []microbatch.Manifest) {
	if err := q.d.follow(ctx, id, ms); err != nil && ctx.Err() == nil {
		q.listen.send(Warning{Doing: "tell workers of a checkpoint for their copies", Err: err})
	}
}
