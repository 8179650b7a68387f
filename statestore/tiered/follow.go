package tiered

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/checkpoint"
)

var _ statestore.Follower = (*Store)(nil)

// Changes returns the rows that differ between two versions: those whose keys the links
// of the chain between them name (G2).
func (s *Store) Changes(name batch.Shard, from, to batch.ID) (iter.Seq[statestore.Change], statestore.Version, error) {
	none := statestore.Version{}
	sh, err := s.shard(name)
	if err != nil {
		return nil, none, err
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	v, err := sh.getLocked(to)
	if err != nil {
		return nil, none, fmt.Errorf("changes to version %d: %w: %w", to, statestore.ErrNotKnown, err)
	}
	var keys []keyList
	n := v.node
	for ; n.id > from; n = n.prev {
		if n.base != nil || n.all || n.prev == nil {
			return nil, none, fmt.Errorf("changes of shard %s from version %d to %d: %w", name, from, to, statestore.ErrNotKnown)
		}
		keys = append(keys, n.keys)
	}
	if n.id != from || n.within {
		return nil, none, fmt.Errorf("changes of shard %s from version %d, there is %d: %w", name, from, n.id, statestore.ErrNotKnown)
	}
	tree := v.tree
	return func(yield func(statestore.Change) bool) {
		at := tree.Cursor()
		sorted(keys, func(key []byte) bool {
			if r := at.Find(key); r != nil && !dead(r) {
				return yield(statestore.Change{Key: key, Value: r.Value()})
			}
			return yield(statestore.Change{Key: key, Deleted: true})
		})
	}, v.state, nil
}

// Follow makes a version of a copy from an older one and what has changed. Its rows stay
// in memory until the next Rebase: a copy that there is no room for is given up, and one
// whose owner goes away in the middle stays as it was.
func (s *Store) Follow(ctx context.Context, name batch.Shard, from, to batch.ID, rows iter.Seq2[statestore.Change, error], want statestore.Version) error {
	sh, err := s.shard(name)
	if err != nil {
		return err
	}
	sh.mu.Lock()
	copies := sh.mu.copy
	sh.mu.Unlock()
	if !copies {
		return fmt.Errorf("follow shard %s: it is no copy", name)
	}
	stays, err := s.follow(ctx, name, from, to, rows, want)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("follow shard %s from version %d to %d: %w", name, from, to, err)
	if !stays {
		err = errors.Join(fmt.Errorf("%w: %w", statestore.ErrGivenUp, err), s.reset(sh, nil))
	}
	return err
}

// follow makes the version; after an error stays tells whether the copy is still good.
func (s *Store) follow(ctx context.Context, name batch.Shard, from, to batch.ID, rows iter.Seq2[statestore.Change, error], want statestore.Version) (stays bool, err error) {
	begun, err := s.Begin(ctx, name, from)
	if err != nil {
		return false, err
	}
	defer begun.Discard()
	t := begun.(*txn)
	t.next, t.mark, t.track, t.copies = to, int64(to)<<1, true, true
	n := 0
	for c, err := range rows {
		if err != nil {
			return true, err
		}
		if n++; n%4096 == 0 && ctx.Err() != nil {
			return true, context.Cause(ctx)
		}
		if c.Deleted {
			err = t.Delete(c.Key)
		} else {
			err = t.Put(c.Key, c.Value)
		}
		if err != nil {
			return false, err
		}
	}
	if err := t.settle(); err != nil {
		return false, err
	}
	if t.state != want {
		return false, fmt.Errorf("%d rows with digest %s, the owner has %d with %s", t.state.Rows, t.state.Digest, want.Rows, want.Digest)
	}
	_, err = s.install(t)
	return false, err
}

// Rebase makes a copy be read from a checkpoint; one that cannot be stays as it was.
func (s *Store) Rebase(ctx context.Context, name batch.Shard, id batch.ID, from []statestore.Manifest) (batch.ID, error) {
	sh, err := s.shard(name)
	if err != nil {
		return batch.None, err
	}
	if s.dir == nil {
		return batch.None, errNoDir
	}
	if err = s.rebase(ctx, sh, id, from); err != nil {
		err = fmt.Errorf("read the copy of shard %s from the checkpoint of version %d: %w", name, id, err)
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if v := sh.newestLocked(); v != nil && sh.mu.copy {
		return v.id, err
	}
	return batch.None, err
}

func (s *Store) rebase(ctx context.Context, sh *shard, id batch.ID, from []statestore.Manifest) error {
	own, err := checkpoint.Covering(sh.name, id, from)
	if err != nil {
		return err
	}
	runs := true
	for _, m := range own {
		runs = runs && checkpoint.InRuns(m)
	}
	if runs {
		b, err := s.attach(sh, own)
		if err != nil {
			return err
		}
		if _, err := s.stack(sh, b.levels); err != nil {
			return errors.Join(err, b.close())
		}
		if s.swap(sh, id, b) {
			return nil
		}
		if err := b.close(); err != nil {
			return err
		}
	}
	v, err := s.restored(ctx, sh, id, from)
	if err != nil {
		return err
	}
	return s.replace(sh, v, true)
}

// swap puts the runs of a checkpoint under a copy that has followed the shard through its
// version: the trees hold what has changed since, and more. What the runs have is let go.
func (s *Store) swap(sh *shard, id batch.ID, b *base) bool {
	sh.mu.Lock()
	var at *node
	if v := sh.newestLocked(); v != nil && sh.mu.copy && sh.mu.running == 0 {
		for n := v.node; n != nil && n.base == nil && !n.all; n = n.prev {
			if n.id == id {
				at = n
			}
		}
	}
	if at == nil {
		sh.mu.Unlock()
		return false
	}
	i, _ := sh.findLocked(id)
	clear(sh.mu.versions[:i])
	sh.mu.versions = sh.mu.versions[i:]
	sh.endLocked(at, b)
	for _, v := range sh.mu.versions {
		if !v.complete {
			v.read = b
		}
	}
	for _, l := range b.levels {
		for _, sp := range l.spans {
			sh.mu.files[sp.file] = struct{}{}
		}
	}
	sh.mu.noted, sh.mu.notedBytes = 0, 0
	for n := sh.newestLocked().node; n.base == nil; n = n.prev {
		sh.mu.noted += n.keys.n
		sh.mu.notedBytes += int64(cap(n.keys.data))
	}
	sh.mu.tracking, sh.mu.stale = true, true
	if whole(sh.newestLocked().state) > s.opt.LoadBytesMax {
		sh.letGoLocked(s)
	}
	s.chargeLocked(sh)
	left := sh.takeLookLocked()
	gone := sh.sweepLocked()
	sh.mu.Unlock()
	left.close() // before its files
	s.drop(gone)
	return true
}
