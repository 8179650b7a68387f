package tiered

import (
	"context"
	"fmt"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/fault"
	"github.com/sluice-stream/sluice/internal/mutant"
	"github.com/sluice-stream/sluice/statestore"
)

// Checkpoint makes a sealed version durable: the changes since the last run
// become a run, and the manifest names all of them.
func (s *Store) Checkpoint(ctx context.Context, name batch.Shard, id batch.ID) (statestore.Manifest, error) {
	if s.dir == nil {
		return statestore.Manifest{}, errNoDir
	}
	sh, err := s.shard(name)
	if err != nil {
		return statestore.Manifest{}, err
	}
	sh.mu.Lock()
	v, err := sh.getLocked(id) // before any wait: it may be pruned from now on
	if err != nil {
		sh.mu.Unlock()
		return statestore.Manifest{}, fmt.Errorf("checkpoint: %w", err)
	}
	// Versions that follow note what they change, so that the next run has no more.
	sh.mu.tracking = true
	sh.mu.Unlock()
	sh.saving.Lock()
	defer sh.saving.Unlock()
	b, err := s.flush(ctx, sh, v)
	if err != nil {
		return statestore.Manifest{}, err
	}
	if err := s.publish(ctx, sh, b); err != nil {
		return statestore.Manifest{}, err
	}
	fault.Hit(fault.C11)
	m := statestore.Manifest{Shard: name, Version: id, State: v.state, Groups: statestore.PackGroups(v.groups)}
	sh.mu.Lock()
	for i, l := range b.levels {
		for _, sp := range l.spans {
			sp.file.named = true
			p := sp.file.part
			p.Run, p.First, p.End = i+1, 0, 0
			if sp.first != name.FirstGroup || sp.end != name.EndGroup {
				p.First, p.End = sp.first, sp.end
			}
			m.Parts = append(m.Parts, p)
		}
	}
	sh.mu.Unlock()
	s.unpin(sh, b)
	return m, nil
}

// publish stores the files that the storage does not have yet. The base is pinned,
// and is not any more after an error.
func (s *Store) publish(ctx context.Context, sh *shard, b *base) error {
	for _, l := range b.levels {
		for _, sp := range l.spans {
			if sp.file.published {
				continue
			}
			if err := s.dir.Publish(ctx, sp.file.part); err != nil {
				s.unpin(sh, b)
				return fmt.Errorf("checkpoint shard %s: %w", sh.name, err)
			}
			sp.file.published = true
		}
	}
	return nil
}

// Collect deletes checkpoint files that are not needed any more.
func (s *Store) Collect(ctx context.Context, live []statestore.Manifest) error {
	if s.dir == nil || len(live) == 0 {
		return nil
	}
	s.collecting.Lock()
	defer s.collecting.Unlock()
	var also []statestore.Manifest
	for _, sh := range s.shards() {
		m := statestore.Manifest{Shard: sh.name}
		sh.mu.Lock()
		for f := range sh.mu.files {
			m.Parts = append(m.Parts, f.part)
		}
		sh.mu.Unlock()
		also = append(also, m)
	}
	if mutant.On(mutant.CollectOneMore) {
		live, also = live[1:], nil
	}
	return s.dir.Collect(ctx, live, also)
}
