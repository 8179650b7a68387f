package tiered

import (
	"context"
	"sync/atomic"
	"time"
)

// pacer keeps background work off the path of small batches. Goroutines that merge
// let others run often, but they take a core's caches and the disk with them, and a
// batch of a hundred keys waits for each of its reads. So while small batches come a
// merge works for a moment and rests for several.
// Large batches are not given way to: they take as long as merges do, and need them.
type pacer struct {
	small atomic.Int32 // small batches that are in the store
	last  atomic.Int64 // when one was there last, in nanoseconds
}

const (
	// smallKeys is up to how many keys of its shard's last batch a batch is small.
	smallKeys = 4096
	// While small batches come a merge works for workTurn and rests for restTurn.
	workTurn = time.Millisecond
	restTurn = 4 * time.Millisecond
	// recently is how long after the last small batch another one is expected.
	recently = 100 * time.Millisecond
	// paceLevels is up to how many runs merges may take their time; they rest as long
	// as they work when there are more.
	paceLevels = levelsMax * 3 / 4
)

func (p *pacer) begin() { p.small.Add(1) }

func (p *pacer) end() {
	p.last.Store(time.Now().UnixNano())
	p.small.Add(-1)
}

// busy reports whether small batches come.
func (p *pacer) busy() bool {
	return p.small.Load() > 0 || time.Since(time.Unix(0, p.last.Load())) < recently
}

// turns is the turns of one merge.
type turns struct {
	store *Store
	shard *shard
	began time.Time
	rows  int
}

// row counts a row, and rests when it is time.
func (t *turns) row(ctx context.Context) {
	const rowsPerLook = 64
	if t.rows++; t.rows%rowsPerLook != 0 || time.Since(t.began) < workTurn {
		return
	}
	if t.store.pace.busy() {
		rest := restTurn
		if t.shard.behind() {
			rest = workTurn
		}
		over := time.NewTimer(rest)
		select {
		case <-over.C:
		case <-ctx.Done():
		}
		over.Stop()
	}
	t.began = time.Now()
}

// behind reports whether runs become more than lookups can do with.
func (sh *shard) behind() bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	v := sh.newestLocked()
	return v == nil || len(sh.rootLocked(v.node).base.levels) > paceLevels
}
