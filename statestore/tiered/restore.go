package tiered

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/fault"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/checkpoint"
)

// Restore replaces whatever the shard holds by a version from the manifests of
// its operator, however they were cut. Large state stays where it is and is read
// when rows are wanted.
func (s *Store) Restore(ctx context.Context, name batch.Shard, id batch.ID, from []statestore.Manifest) error {
	sh, err := s.shard(name)
	if err != nil {
		return err
	}
	if id == batch.None {
		return s.reset(sh, nil)
	}
	if s.dir == nil {
		return errNoDir
	}
	v, err := s.restored(ctx, sh, id, from)
	if err != nil {
		return fmt.Errorf("restore version %d of shard %s: %w", id, name, err)
	}
	return s.reset(sh, v)
}

func (s *Store) restored(ctx context.Context, sh *shard, id batch.ID, from []statestore.Manifest) (*version, error) {
	from, err := checkpoint.Covering(sh.name, id, from)
	if err != nil {
		return nil, err
	}
	for _, m := range from {
		if !checkpoint.InRuns(m) {
			return s.reread(ctx, sh, id, from)
		}
	}
	v := sh.empty()
	v.id = id
	for _, m := range from {
		groups, err := m.Groups.Unpack(m.Shard, m.State)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", checkpoint.ErrDamaged, err)
		}
		for g := max(m.Shard.FirstGroup, sh.name.FirstGroup); g < min(m.Shard.EndGroup, sh.name.EndGroup); g++ {
			v.groups[g-sh.name.FirstGroup] = groups[g-m.Shard.FirstGroup]
			v.state = v.state.Add(groups[g-m.Shard.FirstGroup])
		}
	}
	b, err := s.attach(sh, from)
	if err != nil {
		return nil, err
	}
	fault.Hit(fault.C14)
	v.node.id, v.node.base = id, b
	if err := s.fill(ctx, sh, v, b); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return v, nil
}

// fill loads the rows of a version that is restored, or opens the files that they are
// read from.
func (s *Store) fill(ctx context.Context, sh *shard, v *version, b *base) error {
	need := whole(v.state)
	if need <= s.opt.LoadBytesMax && !s.pool.above(leftPercent, need) {
		return s.load(ctx, sh, v, b)
	}
	v.complete, v.read = false, b
	if _, err := s.stack(sh, b.levels); err != nil { // opens the files, reads no rows
		return err
	}
	if len(b.levels) == 0 && v.state.Rows > 0 {
		return fmt.Errorf("%w: %d rows from no parts", checkpoint.ErrDamaged, v.state.Rows)
	}
	return nil
}

// attach makes runs of what the manifests have for the shard. Those of different
// manifests do not overlap, so the oldest of each are one, and so on.
func (s *Store) attach(sh *shard, from []statestore.Manifest) (*base, error) {
	var runs [][]span
	for _, m := range from {
		spans, err := checkpoint.Spans(m, sh.name.FirstGroup, sh.name.EndGroup)
		if err != nil {
			return nil, err
		}
		for _, sp := range spans {
			for len(runs) <= sp.Run {
				runs = append(runs, nil)
			}
			p := sp.Part
			p.Run, p.First, p.End = 0, 0, 0
			runs[sp.Run] = append(runs[sp.Run], span{file: &file{part: p, named: true, published: true}, first: sp.First, end: sp.End})
		}
	}
	b := &base{}
	for _, spans := range runs {
		if l := newLevel(spans); l != nil {
			b.levels = append(b.levels, l)
		}
	}
	return b, nil
}

// load reads every row into the version's tree, and checks that they are those
// that the manifests speak of.
func (s *Store) load(ctx context.Context, sh *shard, v *version, b *base) error {
	seen := map[string]bool{}
	for _, l := range b.levels {
		for _, sp := range l.spans {
			if seen[sp.file.part.Name] {
				continue
			}
			seen[sp.file.part.Name] = true
			if err := s.dir.CheckRun(ctx, sp.file.part); err != nil {
				return err
			}
		}
	}
	t := &txn{store: s, shard: sh, tree: v.tree, complete: true, mark: readMark, groups: make([]statestore.Version, len(v.groups)), mine: true, checkAt: 1 << 62}
	t.at = v.tree.Cursor()
	err := s.each(ctx, sh, b, t.Put)
	if err == nil && (t.state != v.state) {
		err = fmt.Errorf("%w: rows with digest %s (%d) instead of %s (%d)", checkpoint.ErrDamaged, t.state.Digest, t.state.Rows, v.state.Digest, v.state.Rows)
	}
	v.complete = true
	return err
}

// each visits the rows of runs that are not deleted, in key order.
func (s *Store) each(ctx context.Context, sh *shard, b *base, visit func(key, value []byte) error) error {
	stack, err := s.stack(sh, b.levels)
	if err != nil {
		return err
	}
	const rowsPerLook = 4096
	rows, n := stack.All(), 0
	ok, err := rows.Seek(nil)
	for ; ok && err == nil; ok, err = rows.Next() {
		if n++; n%rowsPerLook == 0 && ctx.Err() != nil {
			err = context.Cause(ctx)
			break
		}
		if rows.Deleted() {
			continue
		}
		if err = visit(rows.Key(), rows.Value()); err != nil {
			break
		}
	}
	return errors.Join(err, rows.Close())
}

// reread makes a version from manifests of which some are older than runs: their
// rows have to be read, so all are.
func (s *Store) reread(ctx context.Context, sh *shard, id batch.ID, from []statestore.Manifest) (*version, error) {
	v := sh.empty()
	t := &txn{store: s, shard: sh, from: v, next: id, tree: v.tree, complete: true, mark: readMark, groups: v.groups, mine: true, checkAt: 1 << 62}
	t.at = v.tree.Cursor()
	for _, m := range from {
		_, err := s.dir.ReadVersion(ctx, m, func(key, value []byte, deleted bool) error {
			switch {
			case len(key) == 0:
				return fmt.Errorf("%w: an empty key", checkpoint.ErrDamaged)
			case int(key[0]) < sh.name.FirstGroup || int(key[0]) >= sh.name.EndGroup:
				return nil
			case deleted:
				return t.Delete(key)
			}
			return t.Put(key, value)
		})
		if err != nil {
			return nil, err
		}
	}
	if len(from) == 1 && from[0].Shard == sh.name && t.state != from[0].State {
		return nil, fmt.Errorf("%w: rows with digest %s (%d) instead of %s (%d)", checkpoint.ErrDamaged,
			t.state.Digest, t.state.Rows, from[0].State.Digest, from[0].State.Rows)
	}
	v.id, v.state, v.groups = id, t.state, t.groups
	// No run holds any of it yet.
	v.node = &node{id: id, all: true, prev: v.node}
	return v, nil
}

// reset makes v, or the empty state, the only version of the shard.
func (s *Store) reset(sh *shard, v *version) error { return s.replace(sh, v, false) }

// replace does so, for the store's own shard or a copy of another's.
func (s *Store) replace(sh *shard, v *version, copies bool) error {
	sh.mu.Lock()
	before := sh.mu.versions
	sh.mu.versions = nil
	if v != nil {
		sh.mu.versions = []*version{v}
	}
	if err := s.takeLocked(sh, sh.needLocked()); err != nil {
		sh.mu.versions = before
		sh.mu.Unlock()
		return fmt.Errorf("restore shard %s: %w", sh.name, err)
	}
	sh.mu.copy = copies
	sh.mu.tracking, sh.mu.noted, sh.mu.notedBytes, sh.mu.stale, sh.mu.evict = false, 0, 0, true, false
	if v != nil {
		for _, l := range sh.rootLocked(v.node).base.levels {
			sh.mu.tracking = true
			for _, sp := range l.spans {
				sh.mu.files[sp.file] = struct{}{}
			}
		}
	}
	left := sh.takeLookLocked()
	gone := sh.sweepLocked()
	sh.mu.Unlock()
	left.close() // before its files
	s.drop(gone)
	if s.pool.crowded() {
		s.pool.wake()
	}
	return nil
}
