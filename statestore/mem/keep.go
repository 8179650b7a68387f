package mem

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/statestore"
)

var _ statestore.Keeper = (*Store)(nil)

// Held lists the versions of every shard.
func (s *Store) Held() []statestore.HeldVersion {
	s.mu.Lock()
	shards := make([]*shard, 0, len(s.mu.shards))
	for _, sh := range s.mu.shards {
		shards = append(shards, sh)
	}
	s.mu.Unlock()
	slices.SortFunc(shards, func(a, b *shard) int {
		return cmp.Or(cmp.Compare(a.name.Operator, b.name.Operator), cmp.Compare(a.name.FirstGroup, b.name.FirstGroup))
	})
	var out []statestore.HeldVersion
	for _, sh := range shards {
		sh.mu.Lock()
		for _, v := range sh.mu.versions {
			out = append(out, statestore.HeldVersion{Shard: sh.name, Version: v.id, Digest: v.state.Digest})
		}
		sh.mu.Unlock()
	}
	return out
}

// Adopt makes a version that is held the newest of its shard. No file is needed for it.
func (s *Store) Adopt(_ context.Context, h statestore.HeldVersion) error {
	sh, err := s.shard(h.Shard)
	if err != nil {
		return err
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	i, ok := sh.findLocked(h.Version)
	if !ok || sh.mu.versions[i].state.Digest != h.Digest {
		return fmt.Errorf("adopt version %d of shard %s: %w with digest %s", h.Version, h.Shard, statestore.ErrNotHeld, h.Digest)
	}
	clear(sh.mu.versions[i+1:])
	sh.mu.versions = sh.mu.versions[:i+1]
	// The next change file would build on one that others may have collected.
	sh.forgetLocked()
	return s.chargeLocked(sh, sh.mu.versions[i].state)
}

// Spare says which shards others hold from now on.
func (s *Store) Spare(elsewhere []batch.Shard) {
	if s.dir != nil {
		s.dir.Spare(elsewhere)
	}
}
