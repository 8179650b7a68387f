package tiered

import (
	"context"
	"errors"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/fault"
)

// Runs are merged by size: as soon as mergeWidth of about the same size lie over
// each other they become one, of the next size. So there are less than mergeWidth
// of each size, and a row is written again once for each size up to that of the
// state. When all other runs together are as large as the oldest, everything
// becomes one run: what has been replaced takes at most as much again.
//
// Runs that are nothing beside the state are merged when there are a few of them:
// a batch looks for each of its keys in every run, and rewriting them costs little.
//
// Batches that ask for a good part of the rows look through every run, block by block, for
// each of their keys: that costs more than to merge runs once they are mergeNarrow.
//
// A merge of gigabytes takes minutes, in which small batches and their checkpoints
// make a run every tenth of a second. So smaller merges are made beside larger ones.
const (
	mergeWidth  = 10
	mergeNarrow = 4
	densePart   = 64 // of the rows: a batch that asks for more looks through every run
	narrowWidth = 4
	narrowPart  = 64 // of the oldest run's bytes: what is less is nothing
	sizeStep    = 10
	sizeMin     = 64 << 10 // runs below are of one size
	levelsMax   = 40
)

// mergeBytes is up to how many bytes each of those who merge does so at once; 0 is
// without a limit.
var mergeBytes = [...]int64{8 << 20, 128 << 20, 1 << 30, 0}

// sizeOf is the size class of a run.
func sizeOf(bytes int64) int {
	n := 0
	for b := bytes / sizeMin; b > 0; b /= sizeStep {
		n++
	}
	return n
}

// pick returns which runs are to be merged, as from and to; none if from is to.
func pick(levels []*level, width int) (from, to int) {
	n := len(levels)
	if n < 2 {
		return 0, 0
	}
	if levels[0].bytes > sizeMin && sum(levels[1:]) >= levels[0].bytes {
		return 0, n
	}
	if from, to = pickAbove(levels, 0, width); from > 0 && from < to && sum(levels[from:to]) > levels[0].bytes/2 {
		return 0, n // soon all would be merged: this is once less
	}
	return from, to
}

// pickAbove returns which runs from one on are to be merged.
func pickAbove(levels []*level, least, width int) (from, to int) {
	// A run counts as large as the largest above it: it is merged with those.
	n, size := len(levels), 0
	to = n
	for i := n - 1; i >= least; i-- {
		if c := sizeOf(levels[i].bytes); c > size {
			size, to = c, i+1
		}
		if to-i >= width || to-i >= narrowWidth && sum(levels[i:to]) < levels[0].bytes/narrowPart {
			for i > least && sizeOf(levels[i-1].bytes) <= size {
				i--
			}
			return i, to
		}
	}
	if n-least > levelsMax {
		return n - levelsMax/2, n
	}
	return 0, 0
}

func sum(levels []*level) int64 {
	n := int64(0)
	for _, l := range levels {
		n += l.bytes
	}
	return n
}

// askMerges has runs merged, if there are enough.
func (s *Store) askMerges() {
	for _, b := range s.merges {
		b.ask()
	}
}

// mergeSome merges runs until none are to be merged.
func (s *Store) mergeSome() {
	s.merging.Lock()
	defer s.merging.Unlock()
	s.mergeUpTo(0)
}

// mergeUpTo merges runs of together not more than so many bytes, 0 for any.
func (s *Store) mergeUpTo(most int64) {
	for again := true; again; {
		again = false
		for _, sh := range s.shards() {
			if s.ctx.Err() != nil {
				return
			}
			// What fails is tried again after the next run.
			did, err := s.merge(s.ctx, sh, most)
			again = again || did && err == nil
		}
	}
}

// freeLocked returns which runs are to be merged of those that nobody merges yet.
func (sh *shard) freeLocked(levels []*level, most int64) (from, to int) {
	width := mergeWidth
	if v := sh.newestLocked(); v != nil && sh.mu.asked > smallKeys && sh.mu.asked > v.state.Rows/densePart {
		width = mergeNarrow
	}
	if most > 0 {
		for end := len(levels); end > 0; end-- {
			least := end
			for least > 0 && !sh.mu.merging[levels[least-1]] {
				least--
			}
			if least == end {
				continue
			}
			if from, to = pickAbove(levels[:end], least, width); from < to && sum(levels[from:to]) <= most {
				return from, to
			}
			end = least
		}
		return 0, 0
	}
	from, to = pick(levels, width)
	for i := from; i < to; i++ {
		if sh.mu.merging[levels[i]] {
			to = i
		}
	}
	if to-from < 2 {
		return 0, 0
	}
	return from, to
}

// merge merges some runs of a shard's newest version, if it has come to that.
func (s *Store) merge(ctx context.Context, sh *shard, most int64) (bool, error) {
	sh.mu.Lock()
	v := sh.newestLocked()
	if v == nil || sh.mu.copy {
		sh.mu.Unlock()
		return false, nil
	}
	b := sh.rootLocked(v.node).base
	from, to := sh.freeLocked(b.levels, most)
	if from == to {
		sh.mu.Unlock()
		return false, nil
	}
	sh.pinLocked(b)
	old := b.levels[from:to]
	for _, l := range old {
		sh.mu.merging[l] = true
	}
	sh.mu.Unlock()
	by, err := s.mergeLevels(ctx, sh, old, from == 0)
	fault.Hit(fault.C12)
	sh.mu.Lock()
	for _, l := range old {
		delete(sh.mu.merging, l)
	}
	if err == nil {
		sh.replaceLocked(old, by, from == 0)
		s.counts.merges.Add(1)
		if by != nil {
			s.counts.mergeBytes.Add(by.bytes)
			sh.unpinLocked(by.alone)
		}
		sh.mu.stale = true
	}
	sh.unpinLocked(b)
	gone := sh.sweepLocked()
	sh.mu.Unlock()
	s.drop(gone)
	if err == nil {
		s.askMerges() // others may have waited for it
	}
	return err == nil, err
}

// replaceLocked puts a run in the place of others wherever they are.
func (sh *shard) replaceLocked(old []*level, by *level, bottom bool) {
	done := map[*base]*base{}
	of := func(b *base) *base {
		if n, ok := done[b]; ok {
			return n
		}
		n := b.replaced(old, by, bottom)
		if n == nil {
			n = b
		}
		done[b] = n
		return n
	}
	for _, v := range sh.mu.versions {
		r := sh.rootLocked(v.node)
		if done[r.base] == nil || of(r.base) != r.base {
			r.base = of(r.base)
			done[r.base] = r.base
		}
		if !v.complete {
			v.read = of(v.read)
		}
	}
}

// mergeLevels writes the rows of several runs as one. Over nothing, deleted rows
// need not be kept.
func (s *Store) mergeLevels(ctx context.Context, sh *shard, old []*level, bottom bool) (_ *level, err error) {
	stack, err := s.stack(sh, old)
	if err != nil {
		return nil, err
	}
	version := batch.None
	for _, l := range stack {
		for _, sl := range l {
			version = max(version, sl.File.Version)
		}
	}
	w := s.dir.NewRun(ctx, sh.name, version, s.opt.FileBytes)
	defer w.Abandon()
	rows := stack.All()
	ok, err := rows.Seek(nil)
	turn := turns{store: s, shard: sh, began: time.Now()}
	for ; ok && err == nil; ok, err = rows.Next() {
		turn.row(ctx)
		if d := rows.Deleted(); !d || !bottom {
			if err = w.Put(rows.Key(), rows.Value(), d); err != nil {
				break
			}
		}
	}
	if err = errors.Join(err, rows.Close()); err != nil {
		return nil, err
	}
	return s.finish(sh, w)
}
