package tiered

import (
	"context"
	"fmt"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/statestore"
)

var _ statestore.Keeper = (*Store)(nil)

// Held lists the versions of every shard.
func (s *Store) Held() []statestore.HeldVersion {
	var out []statestore.HeldVersion
	for _, sh := range s.shards() {
		sh.mu.Lock()
		for _, v := range sh.mu.versions {
			out = append(out, statestore.HeldVersion{Shard: sh.name, Version: v.id, Digest: v.state.Digest, Copy: sh.mu.copy})
		}
		sh.mu.Unlock()
	}
	return out
}

// Adopt makes a version that is held the newest of its shard.
func (s *Store) Adopt(ctx context.Context, h statestore.HeldVersion) error {
	sh, err := s.shard(h.Shard)
	if err != nil {
		return err
	}
	sh.mu.Lock()
	v, err := sh.getLocked(h.Version)
	if err != nil {
		sh.mu.Unlock()
		return fmt.Errorf("adopt version %d: %w: %w", h.Version, statestore.ErrNotHeld, err)
	}
	if v.state.Digest != h.Digest {
		sh.mu.Unlock()
		return fmt.Errorf("adopt version %d of shard %s: %w: its digest is %s, not %s", h.Version, h.Shard, statestore.ErrNotHeld, v.state.Digest, h.Digest)
	}
	sh.mu.copy = false
	i, _ := sh.findLocked(h.Version)
	if i+1 < len(sh.mu.versions) {
		clear(sh.mu.versions[i+1:])
		sh.mu.versions = sh.mu.versions[:i+1]
		sh.mu.stale = true
		s.chargeLocked(sh)
	}
	left := sh.takeLookLocked() // of what comes after, maybe
	root := sh.rootLocked(v.node).base
	sh.pinLocked(root)
	gone := sh.sweepLocked()
	sh.mu.Unlock()
	left.close()
	s.drop(gone)
	err = s.reachable(ctx, root)
	s.unpin(sh, root)
	if err != nil {
		return fmt.Errorf("adopt version %d of shard %s: %w: %w", h.Version, h.Shard, statestore.ErrNotHeld, err)
	}
	return nil
}

// reachable checks that the files of a base are where they were left: the next checkpoint
// names them.
func (s *Store) reachable(ctx context.Context, b *base) error {
	for _, l := range b.levels {
		for _, sp := range l.spans {
			if err := s.dir.Reachable(ctx, sp.file.part); err != nil {
				return err
			}
		}
	}
	return nil
}

// Spare says which shards others hold from now on.
func (s *Store) Spare(elsewhere []batch.Shard) {
	if s.dir == nil {
		return
	}
	s.collecting.Lock() // who collects has begun before
	defer s.collecting.Unlock()
	s.dir.Spare(elsewhere)
}
