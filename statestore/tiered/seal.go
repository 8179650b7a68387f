package tiered

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/mem"
)

// seal takes over a transaction's tree as the next version.
func (s *Store) seal(ctx context.Context, t *txn) (statestore.Version, error) {
	if s.dir != nil && s.pool.above(hardPercent, t.tree.Bytes()-t.from.cost()) && t.tree.Bytes() > s.step {
		// Rows come faster than they are pushed out: the batch does it itself.
		if err := t.spill(ctx); err != nil {
			return statestore.Version{}, fmt.Errorf("seal version %d of shard %s: %w", t.next, t.shard.name, err)
		}
	}
	s.pool.noteOthers(true)
	v, err := s.install(t)
	if err != nil && s.dir != nil && isLimit(err) && t.tree.Len() > 0 {
		if err := t.spill(ctx); err != nil {
			return statestore.Version{}, fmt.Errorf("seal version %d of shard %s: %w", t.next, t.shard.name, err)
		}
		v, err = s.install(t)
	}
	if err != nil {
		return statestore.Version{}, err
	}
	if s.dir != nil && s.pool.crowded() {
		s.pool.wake()
	}
	return v, nil
}

// install makes the version the shard's newest.
func (s *Store) install(t *txn) (statestore.Version, error) {
	sh := t.shard
	v := &version{id: t.next, tree: t.tree, complete: t.complete, read: t.read, node: t.node(), state: t.state, groups: t.groups, gen: t.gen}
	t.release() // what it took counts for the version from now on
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if err := t.basedLocked(); err != nil {
		return statestore.Version{}, err
	}
	i, _ := sh.findLocked(t.next)
	before := sh.mu.versions
	// What follows came from a base that is now replaced.
	sh.mu.versions = append(before[:i:i], v)
	if err := s.takeLocked(sh, sh.needLocked()); err != nil {
		sh.mu.versions = before
		return statestore.Version{}, fmt.Errorf("seal version %d of shard %s: %w", t.next, sh.name, err)
	}
	if i < len(before) {
		sh.mu.stale = true
	}
	sh.noteLocked(v)
	return t.state, nil
}

// basedLocked checks that the version that the transaction began from is kept
// and has not been replaced by another one.
func (t *txn) basedLocked() error {
	if t.from.id == batch.None {
		return nil
	}
	b, err := t.shard.getLocked(t.from.id)
	if err != nil {
		return fmt.Errorf("seal version %d: %w", t.next, err)
	}
	if b.node != t.from.node {
		return fmt.Errorf("seal version %d of shard %s: version %d was sealed again meanwhile", t.next, t.shard.name, t.from.id)
	}
	return nil
}

// node returns the link of the chain for what the transaction has changed.
func (t *txn) node() *node {
	n := &node{id: t.next, keys: t.changed, all: !t.track, prev: t.prev}
	if n.prev == nil {
		n.prev = t.from.node
	}
	return n
}

// fewKeys is how long a list of changes is not worth bounding.
const fewKeys = 1 << 16

// noteLocked bounds the lists of changed keys when checkpoints fail for long: once
// they are longer than twice the rows, all may have changed.
func (sh *shard) noteLocked(v *version) {
	sh.mu.noted += v.node.keys.n
	sh.mu.notedBytes += int64(cap(v.node.keys.data))
	if sh.mu.noted > fewKeys && sh.mu.noted > 2*v.tree.Len() {
		v.node.keys, v.node.all, v.node.prev = keyList{}, true, sh.rootLocked(v.node)
		sh.mu.noted, sh.mu.notedBytes = 0, 0
	}
}

// errShort ends what a copy takes in: what its store owns is to have the memory.
var errShort = errors.New("memory is short, and a copy writes no runs")

// grown looks at memory when the transaction's tree has grown by a good deal. If
// there is no room, the tree becomes a run.
func (t *txn) grown() error {
	now := t.tree.Bytes() + int64(cap(t.changed.data)+cap(t.pending.data)) + t.missed.bytes()
	if now < t.checkAt {
		return nil
	}
	t.store.pool.noteOthers(false)
	more := now + t.tree.Fresh() - t.from.cost() - t.reserved
	t.checkAt = now + t.store.step
	if more <= 0 {
		return nil
	}
	var err error
	if m := t.store.opt.Memory; m != nil {
		err = m.Reserve(more)
	}
	if err == nil {
		t.store.pool.hot.Add(more)
		t.reserved += more
		// A process that is short of memory needs what is left for what cannot let go.
		if t.store.dir == nil || !t.store.pool.above(hardPercent, 0) && !t.store.pool.short() {
			return nil
		}
	}
	if err == nil && t.copies {
		err = errShort
	}
	if t.store.dir == nil || t.copies {
		return fmt.Errorf("change shard %s: %w", t.shard.name, err)
	}
	t.store.pool.wake()
	if err := t.spill(t.store.ctx); err != nil {
		return fmt.Errorf("change shard %s: %w", t.shard.name, err)
	}
	return nil
}

// release gives back what the transaction has taken beyond its base.
func (t *txn) release() {
	if t.reserved == 0 {
		return
	}
	if m := t.store.opt.Memory; m != nil {
		m.Release(t.reserved)
	}
	t.store.pool.hot.Add(-t.reserved)
	t.reserved = 0
}

// spill writes what the transaction and those since the last run have changed as
// a run of its own, and goes on with an empty tree over it.
func (t *txn) spill(ctx context.Context) error {
	if err := t.settle(); err != nil {
		return err
	}
	n := t.node()
	sh := t.shard
	sh.mu.Lock()
	if err := t.basedLocked(); err != nil {
		sh.mu.Unlock()
		return err
	}
	keys, count, all := n.changes()
	root := sh.rootLocked(n)
	under := root.base
	sh.pinLocked(under)
	sh.mu.Unlock()

	c := changes{shard: sh.name, version: t.next, tree: t.tree, complete: t.complete, keys: keys, count: count, all: all, since: root.id, under: under}
	level, err := t.store.write(ctx, sh, c)
	sh.mu.Lock()
	sh.unpinLocked(under)
	if err != nil {
		gone := sh.sweepLocked()
		sh.mu.Unlock()
		t.store.drop(gone)
		return err
	}
	if c.full() {
		under = noRuns
	}
	now := under.with(level)
	sh.pinLocked(now)
	if level != nil {
		sh.unpinLocked(level.alone)
	}
	if t.pinned != nil {
		sh.unpinLocked(t.pinned)
	}
	t.pinned = now
	sh.mu.gone++
	gone := sh.sweepLocked()
	sh.mu.Unlock()
	t.look.close() // before its files
	t.look = nil
	t.store.drop(gone)

	t.missed = missed{} // what this transaction has put may be under the tree now
	t.read, t.complete, t.prev, t.track = now, false, &node{id: t.next - 1, base: now, within: true}, true
	t.tree = mem.NewTree()
	t.at, t.changed, t.gen = t.tree.Cursor(), keyList{}, &generation{}
	t.checkAt = t.store.step
	t.release()
	t.store.counts.spills.Add(1)
	return t.open()
}
