package mem

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/checkpoint"
)

var errNoDir = errors.New("the state store has no folder for checkpoints")

// Checkpoint makes a sealed version durable: the changes since the last
// checkpoint, or a snapshot where that is cheaper.
func (s *Store) Checkpoint(ctx context.Context, name batch.Shard, id batch.ID) (statestore.Manifest, error) {
	if s.dir == nil {
		return statestore.Manifest{}, errNoDir
	}
	sh, err := s.shard(name)
	if err != nil {
		return statestore.Manifest{}, err
	}
	v, err := sh.get(id) // before any wait: it may be pruned from now on
	if err != nil {
		return statestore.Manifest{}, fmt.Errorf("checkpoint: %w", err)
	}
	sh.saving.Lock()
	defer sh.saving.Unlock()

	sh.mu.Lock()
	if !sh.mu.noting {
		sh.mu.noting, sh.mu.notedAfter = true, id
		if n := len(sh.mu.versions); n > 0 {
			sh.mu.notedAfter = max(id, sh.mu.versions[n-1].id)
		}
	}
	last, size, gen, part := sh.mu.last, sh.mu.lastSize, sh.mu.gen, sh.mu.lastPart
	var keys []string
	if last != nil && last.Version <= id {
		keys = sh.changedLocked(id)
	} else {
		last = nil
	}
	sh.mu.Unlock()

	m := statestore.Manifest{Shard: name, Version: id, State: v.state}
	switch {
	case last != nil && len(keys) == 0:
		m.Parts = slices.Clone(last.Parts)
	case last == nil || len(last.Parts) > s.opt.ChangesMax ||
		float64(size.changes) > s.opt.SnapshotRatio*float64(size.snapshot):
		p, err := s.writeSnapshot(ctx, name, v)
		if err != nil {
			return m, err
		}
		m.Parts, size, part = []statestore.Part{p}, sizes{snapshot: p.Bytes}, id
	default:
		p, err := s.writeChanges(ctx, name, v, part, keys)
		if err != nil {
			return m, err
		}
		m.Parts = append(slices.Clone(last.Parts), p)
		size.changes += p.Bytes
		part = id
	}
	sh.saved(v, &m, size, part, gen)
	return m, nil
}

// changedLocked returns the keys that changed after the last checkpoint through
// version id, sorted, each once.
func (sh *shard) changedLocked(id batch.ID) []string {
	var keys []string
	for _, c := range sh.mu.changed {
		if c.id <= id {
			keys = append(keys, c.keys...)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// saved makes m the base of the next change file, unless the changes after it
// are not all known: its version was replaced while it was written, or there
// were newer ones before their changes were noted.
func (sh *shard) saved(v *version, m *statestore.Manifest, size sizes, part batch.ID, gen int) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if i, ok := sh.findLocked(v.id); (ok && sh.mu.versions[i] != v) || sh.mu.gen != gen {
		return
	}
	if sh.mu.last == nil && v.id < sh.mu.notedAfter {
		return
	}
	if sh.mu.last != nil && sh.mu.last.Version > v.id {
		return // a newer one is the better base
	}
	sh.mu.last, sh.mu.lastSize, sh.mu.lastPart = m, size, part
	n := 0
	for n < len(sh.mu.changed) && sh.mu.changed[n].id <= v.id {
		sh.mu.rows -= len(sh.mu.changed[n].keys)
		n++
	}
	sh.mu.changed = slices.Delete(sh.mu.changed, 0, n)
}

func (s *Store) writeSnapshot(ctx context.Context, name batch.Shard, v *version) (statestore.Part, error) {
	h := checkpoint.Header{Kind: checkpoint.Snapshot, Shard: name, Version: v.id, Base: batch.None, Rows: int64(v.tree.Len())}
	return s.dir.Write(ctx, h, func(put checkpoint.Put) error {
		var err error
		v.tree.Scan(func(r *Row) bool {
			err = put(r.key, r.value, false)
			return err == nil
		})
		return err
	})
}

func (s *Store) writeChanges(ctx context.Context, name batch.Shard, v *version, base batch.ID, keys []string) (statestore.Part, error) {
	h := checkpoint.Header{Kind: checkpoint.Changes, Shard: name, Version: v.id, Base: base, Rows: int64(len(keys))}
	return s.dir.Write(ctx, h, func(put checkpoint.Put) error {
		at := cursor{t: v.tree}
		for _, k := range keys {
			var value []byte
			r := at.get(k)
			if r != nil {
				value = r.value
			}
			if err := put(bytesOf(k), value, r == nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// Restore replaces whatever the shard holds by a version from the manifests of
// its operator, however they were cut.
func (s *Store) Restore(ctx context.Context, name batch.Shard, id batch.ID, from []statestore.Manifest) error {
	sh, err := s.shard(name)
	if err != nil {
		return err
	}
	if id == batch.None {
		return s.reset(sh, nil, nil, batch.None)
	}
	if s.dir == nil {
		return errNoDir
	}
	from, err = checkpoint.Covering(name, id, from)
	if err != nil {
		return fmt.Errorf("restore version %d of shard %s: %w", id, name, err)
	}
	t := &txn{store: s, shard: sh, base: batch.None, next: id, tree: newTree()}
	t.at.t = t.tree
	part := batch.None
	for _, m := range from {
		var err error
		part, err = s.dir.ReadVersion(ctx, m, func(key, value []byte, deleted bool) error {
			switch {
			case len(key) == 0:
				return fmt.Errorf("%w: an empty key", checkpoint.ErrDamaged)
			case int(key[0]) < name.FirstGroup || int(key[0]) >= name.EndGroup:
				return nil
			case deleted:
				return t.Delete(key)
			}
			return t.Put(key, value)
		})
		if err != nil {
			return fmt.Errorf("restore version %d of shard %s: %w", id, name, err)
		}
	}
	v := &version{id: id, tree: t.tree, state: t.state}
	if len(from) != 1 || from[0].Shard != name {
		return s.reset(sh, v, nil, batch.None)
	}
	if v.state != from[0].State {
		return fmt.Errorf("restore version %d of shard %s: %w: rows with digest %s (%d) instead of %s (%d)", id, name,
			checkpoint.ErrDamaged, v.state.Digest, v.state.Rows, from[0].State.Digest, from[0].State.Rows)
	}
	if checkpoint.InRuns(from[0]) {
		return s.reset(sh, v, nil, batch.None) // change files build on a snapshot
	}
	return s.reset(sh, v, &from[0], part)
}

// reset makes v, or the empty state, the only version of the shard.
func (s *Store) reset(sh *shard, v *version, m *statestore.Manifest, part batch.ID) error {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	var state statestore.Version
	if v != nil {
		state = v.state
	}
	if err := s.chargeLocked(sh, state); err != nil {
		return fmt.Errorf("restore shard %s: %w", sh.name, err)
	}
	sh.mu.versions = nil
	sh.forgetLocked()
	if v != nil {
		sh.mu.versions = []*version{v}
	}
	if m != nil {
		sh.mu.noting, sh.mu.notedAfter = true, v.id
		sh.mu.last, sh.mu.lastSize, sh.mu.lastPart = m, sizes{snapshot: m.Parts[0].Bytes}, part
		for _, p := range m.Parts[1:] {
			sh.mu.lastSize.changes += p.Bytes
		}
	}
	return nil
}
