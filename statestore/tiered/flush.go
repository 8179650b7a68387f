package tiered

import (
	"context"
	"errors"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/statestore/checkpoint"
	"github.com/sluice-stream/sluice/statestore/mem"
)

// isLimit reports whether memory was refused.
func isLimit(err error) bool {
	var limit *memory.LimitError
	return errors.As(err, &limit)
}

// smallBytes is the size up to which a complete state is written whole: its runs
// would be more trouble than its rows.
const smallBytes = 256 << 10

// changes is what a run is to hold.
type changes struct {
	shard    batch.Shard
	version  batch.ID
	tree     *mem.Tree
	complete bool
	state    int64     // bytes of rows, if it is known
	keys     []keyList // that have changed
	count    int       // of keys
	all      bool      // keys are not known
	since    batch.ID  // the version that has all other rows
	under    *base
}

// full reports whether the run is to hold every row and replace all others.
func (c *changes) full() bool {
	return c.complete && (c.all || len(c.under.levels) == 0 || c.state > 0 && c.state <= smallBytes && c.count > 0)
}

// write writes a run and opens the shard to its files; nil if there is nothing to
// write. Until the files are part of a base they are nobody's but the caller's.
func (s *Store) write(ctx context.Context, sh *shard, c changes) (*level, error) {
	w := s.dir.NewRun(ctx, c.shard, c.version, s.opt.FileBytes)
	defer w.Abandon()
	var err error
	// Where most rows have changed it is faster to look at every row, by whose mark
	// it is seen. What was deleted from a complete tree has left no row, though.
	each := c.full() || c.all
	marks := !each && !c.complete && c.count > c.tree.Len()/4
	at := c.tree.Cursor()
	if each || marks {
		since := int64(c.since)<<1 | deadBit
		at.From(nil, func(r *mem.Row) bool {
			if marks && r.Mark() <= since {
				return true
			}
			if d := dead(r); !d || len(c.under.levels) > 0 {
				err = w.Put(r.Key(), r.Value(), d)
			}
			return err == nil
		})
	} else {
		sorted(c.keys, func(key []byte) bool {
			r := at.Find(key)
			d := r == nil || dead(r)
			if d && len(c.under.levels) == 0 {
				return true
			}
			var value []byte
			if !d {
				value = r.Value()
			}
			err = w.Put(key, value, d)
			return err == nil
		})
	}
	if err != nil {
		return nil, err
	}
	l, err := s.finish(sh, w)
	if l != nil {
		s.counts.runBytes.Add(l.bytes)
	}
	return l, err
}

// finish makes a run durable and its files those of the shard.
func (s *Store) finish(sh *shard, w *checkpoint.RunWriter) (*level, error) {
	s.collecting.RLock()
	defer s.collecting.RUnlock()
	parts, err := w.Finish()
	if err != nil {
		return nil, err
	}
	spans := make([]span, len(parts))
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for i, p := range parts {
		f := &file{part: p}
		spans[i] = span{file: f, first: sh.name.FirstGroup, end: sh.name.EndGroup}
		sh.mu.files[f] = struct{}{}
	}
	l := newLevel(spans)
	if l != nil {
		sh.pinLocked(l.alone) // until it is part of a base that is needed
	}
	return l, nil
}

// flush writes what has changed up to version v since the last run, and returns
// the runs that hold v, pinned. The caller holds sh.saving.
func (s *Store) flush(ctx context.Context, sh *shard, v *version) (*base, error) {
	sh.mu.Lock()
	sh.mu.tracking = true
	keys, count, all := v.node.changes()
	root := sh.rootLocked(v.node)
	under, since := root.base, root.id
	sh.pinLocked(under)
	sh.mu.Unlock()
	if count == 0 && !all {
		return under, nil
	}
	c := changes{shard: sh.name, version: v.id, tree: v.tree, complete: v.complete, state: v.state.Bytes, keys: keys, count: count, all: all, since: since, under: under}
	l, err := s.write(ctx, sh, c)
	sh.mu.Lock()
	sh.unpinLocked(under)
	var now *base
	if err == nil {
		now = sh.builtLocked(v, l, c.full())
	}
	gone := sh.sweepLocked()
	sh.mu.Unlock()
	s.drop(gone)
	if err == nil && l != nil {
		s.askMerges()
	}
	return now, err
}

// builtLocked makes a run the end of v's chain of changes, and returns the runs
// that hold v from now on, pinned.
func (sh *shard) builtLocked(v *version, l *level, full bool) *base {
	// Runs may have been merged meanwhile: the end of the chain knows.
	now := sh.rootLocked(v.node).base
	if full {
		now = noRuns
	}
	now = now.with(l)
	sh.endLocked(v.node, now)
	sh.pinLocked(now)
	for _, w := range sh.mu.versions {
		if !w.complete && sh.rootLocked(w.node) == v.node {
			w.read = now
		}
	}
	if l != nil {
		sh.unpinLocked(l.alone)
	}
	sh.mu.noted, sh.mu.notedBytes = 0, 0
	if w := sh.newestLocked(); w != nil {
		for n := w.node; n.base == nil; n = n.prev {
			sh.mu.noted += n.keys.n
			sh.mu.notedBytes += int64(cap(n.keys.data))
		}
	}
	sh.mu.stale = true
	return now
}

// unpin lets go of a base that flush returned.
func (s *Store) unpin(sh *shard, b *base) {
	sh.mu.Lock()
	sh.unpinLocked(b)
	gone := sh.sweepLocked()
	sh.mu.Unlock()
	s.drop(gone)
}
