package tiered

import (
	"cmp"
	"slices"

	"github.com/sluice-stream/sluice/statestore/mem"
)

// evictBytesMin is the least that is worth a run.
const evictBytesMin = 256 << 10

// evictSome pushes rows out, the largest shards first, until enough is on its way.
// What fails stays in memory: batches go on while there is room, and spill or fail
// with the reason when there is none.
func (s *Store) evictSome() {
	if !s.pool.crowded() {
		return
	}
	type victim struct {
		sh   *shard
		cost int64
	}
	var all []victim
	for _, sh := range s.shards() {
		sh.mu.Lock()
		if v := sh.newestLocked(); v != nil && v.cost() >= min(evictBytesMin, s.pool.hotMax()/8) && !sh.mu.evict && !sh.mu.copy {
			all = append(all, victim{sh, v.cost()})
		}
		sh.mu.Unlock()
	}
	slices.SortStableFunc(all, func(a, b victim) int { return cmp.Compare(b.cost, a.cost) })
	going := int64(0)
	for _, v := range all {
		if s.ctx.Err() != nil || !s.pool.above(leftPercent, -going) {
			return
		}
		if s.evict(v.sh) == nil {
			going += v.cost
		}
	}
}

// makeRoom pushes a shard's rows out before a batch begins on it, if they are a
// good part of all that there is room for. What fails stays in memory.
func (s *Store) makeRoom(sh *shard) {
	sh.mu.Lock()
	v := sh.newestLocked()
	worth := v != nil && v.cost() >= max(min(evictBytesMin, s.pool.hotMax()/8), s.pool.hotMax()/16) && sh.mu.running == 0 && !sh.mu.evict && !sh.mu.copy
	sh.mu.Unlock()
	if worth {
		_ = s.evict(sh)
	}
}

// evict writes what the newest version of a shard has changed and lets its rows go.
func (s *Store) evict(sh *shard) error {
	sh.saving.Lock()
	defer sh.saving.Unlock()
	sh.mu.Lock()
	v := sh.newestLocked()
	sh.mu.Unlock()
	if v == nil {
		return nil
	}
	b, err := s.flush(s.ctx, sh, v)
	if err != nil {
		return err
	}
	sh.mu.Lock()
	sh.mu.evict = true
	if sh.mu.running == 0 {
		sh.letGoLocked(s)
	}
	sh.mu.Unlock()
	s.unpin(sh, b)
	return nil
}

// letGoLocked replaces the newest version by one whose tree has nothing but what
// has changed since the last run. The trees of older versions stay until those are
// pruned. Nobody may have begun from it: that one would carry the old tree on.
func (sh *shard) letGoLocked(s *Store) {
	sh.mu.evict = false
	v := sh.newestLocked()
	if v == nil {
		return
	}
	keys, count, all := v.node.changes()
	if all || count > v.tree.Len()/2 {
		return // as good as everything has changed since
	}
	under := sh.rootLocked(v.node).base
	w := *v
	w.complete, w.read, w.tree, w.gen = false, under, mem.NewTree(), &generation{}
	to, from := w.tree.Cursor(), v.tree.Cursor()
	sorted(keys, func(key []byte) bool {
		_, at := to.Place(key)
		if r := from.Find(key); r != nil {
			to.Set(at, false, key, r.Value(), r.Mark())
		} else if len(under.levels) > 0 {
			to.Set(at, false, key, nil, int64(v.id)<<1|deadBit)
		}
		return true
	})
	sh.mu.versions[len(sh.mu.versions)-1] = &w
	s.counts.evictions.Add(1)
	sh.mu.gone++
	s.chargeLocked(sh)
}
