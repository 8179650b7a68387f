package tiered

import (
	"sync/atomic"

	"github.com/sluice-stream/sluice/statestore"
)

var _ statestore.Meter = (*Store)(nil)

// counters count what the store has done about memory.
type counters struct {
	spills, evictions, merges atomic.Int64
	runBytes                  atomic.Int64 // written as runs of changes
	mergeBytes                atomic.Int64 // written by merges
}

// Counts is what a store has done since it was opened.
type Counts struct {
	Spills     int64 // batches that wrote a run because their own changes had no room
	Evictions  int64 // shards whose rows were let go from memory
	Merges     int64 // runs made of others
	RunBytes   int64 // bytes of runs of changes, for checkpoints and evictions
	MergeBytes int64 // bytes of merged runs
}

// Counts tells what the store has done.
func (s *Store) Counts() Counts {
	c := &s.counts
	return Counts{Spills: c.spills.Load(), Evictions: c.evictions.Load(), Merges: c.merges.Load(),
		RunBytes: c.runBytes.Load(), MergeBytes: c.mergeBytes.Load()}
}

// Use tells what each shard holds, in the order of their names, but for copies.
func (s *Store) Use() []statestore.ShardUse {
	var out []statestore.ShardUse
	for _, sh := range s.shards() {
		sh.mu.Lock()
		if v := sh.newestLocked(); v != nil && !sh.mu.copy {
			b := sh.rootLocked(v.node).base
			out = append(out, statestore.ShardUse{Shard: sh.name, Version: v.id, Rows: v.state.Rows, Bytes: v.state.Bytes,
				Hot: sh.mu.charged, Cold: b.bytes(), Runs: len(b.levels), Complete: v.complete})
		}
		sh.mu.Unlock()
	}
	return out
}

// Use tells what the transaction asked for, and where the shard's rows are now.
func (t *txn) Use() statestore.TxnUse {
	u, sh := t.use, t.shard
	sh.mu.Lock()
	defer sh.mu.Unlock()
	u.Hot, u.Evictions = sh.mu.charged, sh.mu.gone
	if v := sh.newestLocked(); v != nil {
		b := sh.rootLocked(v.node).base
		u.Cold, u.Runs = b.bytes(), len(b.levels)
	}
	return u
}
