package tiered

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/checkpoint"
	"github.com/sluice-stream/sluice/statestore/mem"
	"github.com/sluice-stream/sluice/statestore/run"
)

// ErrNoVersion is wrapped when a version is asked for that is not kept.
var ErrNoVersion = errors.New("state version is not kept")

var errNoDir = errors.New("the state store has no folder for checkpoints")

// Options configure a store. Without a Dir everything stays in memory and there
// are no checkpoints.
type Options struct {
	FS  vfsx.FS // default: the machine's
	Dir string  // of the runs; empty: Checkpoint and Restore are refused

	// Storage, if not nil, is where the files of checkpoints are durable; Dir is
	// then where runs are written and a cache of it.
	Storage checkpoint.Storage
	// Elsewhere are the shards that other processes hold in the same Dir: Collect
	// leaves their files to them.
	Elsewhere []batch.Shard

	// Pool is the room in memory that the store shares with others; nil: one of
	// its own, within Memory's limit, or without an end.
	Pool *Pool
	// Memory, if not nil, is charged for the rows in memory.
	Memory *memory.Tracker
	// FileBytes is about how large a file of a run becomes; default 32 MiB. Larger
	// files are fewer, and their Bloom filters do not fit into a small cache.
	FileBytes int64
	// LoadBytesMax is the memory up to which the state of a shard is loaded when it
	// is restored; default 16 MiB. More is read when it is wanted.
	LoadBytesMax int64
}

// Store is a statestore.Store whose rows need not fit into memory.
type Store struct {
	opt  Options
	pool *Pool
	own  bool            // the pool
	dir  *checkpoint.Dir // nil without Options.Dir

	ctx       context.Context // of background work and of reads from runs
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	evictions bell
	merges    [len(mergeBytes)]bell
	pace      pacer
	merging   sync.Mutex // held by whoever merges: two would do the same
	relax     func()     // ends the budget's calls
	counts    counters
	step      int64 // how much a transaction's tree grows between two looks at memory

	// collecting keeps files from being collected between their last byte and
	// their place in a shard.
	collecting sync.RWMutex

	mu struct {
		sync.Mutex
		closed bool
		shards map[batch.Shard]*shard
	}
}

var _ statestore.Store = (*Store)(nil)

// shard is the state of one operator and partition.
type shard struct {
	name batch.Shard

	saving sync.Mutex // held while a run of changes is written: one at a time

	mu struct {
		sync.Mutex
		versions   []*version // by ID
		tracking   bool       // transactions note the keys that they change
		noted      int        // keys in the chain, about
		notedBytes int64      // of them
		charged    int64
		running    int    // transactions
		asked      int64  // keys that the last transaction asked for
		there      bool   // most of those that it looked for in runs were there
		gone       int64  // times that rows were let go
		cuts       uint64 // times that a node became the end of a chain
		steps      int64  // that were taken to find ends of chains
		evict      bool   // the newest version is to let go of what the runs have
		stale      bool   // files may not be needed any more
		closed     bool
		copy       bool // of a shard that another store owns: nothing is written
		files      map[*file]struct{}
		pins       map[*base]int
		merging    map[*level]bool // runs that are being merged, by one of two who do so
		// look is left by the last transaction for the next one, if that reads the
		// same runs: its iterators have found their blocks. Its base is pinned.
		look *lookup
	}
}

// lookup looks into the runs of a base.
type lookup struct {
	*run.Lookup
	more []*run.Lookup // for reading several keys at once
	base *base
}

// bell wakes a goroutine; ringing it again before that changes nothing.
type bell chan struct{}

func (b bell) ask() {
	select {
	case b <- struct{}{}:
	default:
	}
}

const (
	fileBytes    = 32 << 20
	loadBytesMax = 16 << 20
)

// Open makes a store.
func Open(opt Options) (*Store, error) {
	if opt.FS == nil {
		opt.FS = vfsx.Default
	}
	if opt.FileBytes <= 0 {
		opt.FileBytes = fileBytes
	}
	if opt.LoadBytesMax <= 0 {
		opt.LoadBytesMax = loadBytesMax
	}
	s := &Store{opt: opt, pool: opt.Pool, evictions: make(bell, 1), relax: func() {}, step: checkBytes}
	if s.pool == nil {
		s.pool, s.own = NewPool(PoolOptions{Share: opt.Memory}), true
	}
	for i := range s.merges {
		s.merges[i] = make(bell, 1)
	}
	s.mu.shards = map[batch.Shard]*shard{}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if opt.Dir == "" {
		return s, nil
	}
	dir, err := checkpoint.OpenMirrored(opt.FS, opt.Dir, opt.Storage)
	if err != nil {
		s.cancel()
		return nil, fmt.Errorf("open state store: %w", err)
	}
	dir.Spare(opt.Elsewhere)
	s.dir = dir
	s.pool.join(s)
	if opt.Memory != nil {
		// Whoever needs memory is told nothing: rows go in the background.
		s.relax = opt.Memory.OnSpill(func(int64) int64 { s.evictions.ask(); return 0 })
	}
	s.wg.Add(1 + len(s.merges))
	go s.work(s.evictions, s.evictSome)
	for i, most := range mergeBytes {
		if most == 0 {
			go s.work(s.merges[i], s.mergeSome)
			continue
		}
		go s.work(s.merges[i], func() { s.mergeUpTo(most) })
	}
	return s, nil
}

// work calls f whenever its bell rings, until the store is closed.
func (s *Store) work(b bell, f func()) {
	defer s.wg.Done()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-b:
			f()
		}
	}
}

func (s *Store) shard(name batch.Shard) (*shard, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return nil, errors.New("the state store is closed")
	}
	sh := s.mu.shards[name]
	if sh == nil {
		if name.FirstGroup < 0 || name.EndGroup > batch.KeyGroups || name.FirstGroup > name.EndGroup {
			return nil, fmt.Errorf("shard %s has key groups %d to %d of %d", name, name.FirstGroup, name.EndGroup, batch.KeyGroups)
		}
		sh = &shard{name: name}
		sh.mu.files, sh.mu.pins, sh.mu.merging = map[*file]struct{}{}, map[*base]int{}, map[*level]bool{}
		s.mu.shards[name] = sh
	}
	return sh, nil
}

// shards lists the shards in the order of their names.
func (s *Store) shards() []*shard {
	s.mu.Lock()
	out := make([]*shard, 0, len(s.mu.shards))
	for _, sh := range s.mu.shards {
		out = append(out, sh)
	}
	s.mu.Unlock()
	slices.SortFunc(out, func(a, b *shard) int {
		switch {
		case a.name.Operator < b.name.Operator:
			return -1
		case a.name.Operator > b.name.Operator:
			return 1
		}
		return a.name.FirstGroup - b.name.FirstGroup
	})
	return out
}

// findLocked returns the position of a version.
func (sh *shard) findLocked(id batch.ID) (int, bool) {
	return slices.BinarySearchFunc(sh.mu.versions, id, func(v *version, id batch.ID) int { return int(v.id - id) })
}

func (sh *shard) getLocked(id batch.ID) (*version, error) {
	if i, ok := sh.findLocked(id); ok {
		return sh.mu.versions[i], nil
	}
	kept := "none"
	if vs := sh.mu.versions; len(vs) > 0 {
		kept = fmt.Sprintf("%d to %d", vs[0].id, vs[len(vs)-1].id)
	}
	return nil, fmt.Errorf("shard %s: %w: %d of %s", sh.name, ErrNoVersion, id, kept)
}

// empty is the version before the first.
func (sh *shard) empty() *version {
	return &version{id: batch.None, tree: mem.NewTree(), complete: true, read: noRuns, node: &node{id: batch.None, base: noRuns},
		groups: make([]statestore.Version, sh.name.EndGroup-sh.name.FirstGroup), gen: &generation{}}
}

// Begin starts version base+1 from version base.
func (s *Store) Begin(_ context.Context, name batch.Shard, id batch.ID) (statestore.Txn, error) {
	sh, err := s.shard(name)
	if err != nil {
		return nil, err
	}
	if s.dir != nil && s.pool.late() {
		s.makeRoom(sh)
	}
	sh.mu.Lock()
	v, err := sh.getLocked(id)
	if err != nil {
		if id != batch.None {
			sh.mu.Unlock()
			return nil, fmt.Errorf("begin batch %d: %w", id+1, err)
		}
		v = sh.empty()
	}
	if sh.mu.evict && sh.mu.running == 0 && v == sh.newestLocked() {
		sh.letGoLocked(s)
		v = sh.newestLocked()
	}
	t := &txn{store: s, shard: sh, from: v, next: id + 1, tree: v.tree.Copy(), complete: v.complete, read: v.read,
		state: v.state, groups: v.groups, gen: v.gen, mark: int64(id+1) << 1,
		track: s.dir != nil && (sh.mu.tracking || !v.complete)}
	t.at = t.tree.Cursor()
	t.checkAt = v.cost() + s.step
	sh.mu.running++
	t.there = sh.mu.there
	if t.small = sh.mu.asked <= smallKeys; t.small {
		s.pace.begin()
	}
	if !t.complete {
		sh.pinLocked(t.read)
		t.pinned = t.read
	}
	left := sh.takeLookLocked()
	if left != nil && !t.complete && left.base == t.read {
		t.look, left = left, nil
	}
	gone := sh.sweepLocked()
	sh.mu.Unlock()
	left.close()
	s.drop(gone)
	if !t.complete && t.look == nil {
		if err := t.open(); err != nil {
			t.Discard()
			return nil, fmt.Errorf("begin batch %d on shard %s: %w", t.next, name, err)
		}
	}
	return t, nil
}

func (sh *shard) newestLocked() *version {
	if n := len(sh.mu.versions); n > 0 {
		return sh.mu.versions[n-1]
	}
	return nil
}

// Digest returns the digest and size of a sealed version.
func (s *Store) Digest(name batch.Shard, id batch.ID) (statestore.Version, error) {
	sh, err := s.shard(name)
	if err != nil {
		return statestore.Version{}, err
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	v, err := sh.getLocked(id)
	if err != nil {
		if id == batch.None {
			return statestore.Version{}, nil
		}
		return statestore.Version{}, err
	}
	return v.state, nil
}

// Prune forgets the versions before oldest. The newest always stays.
func (s *Store) Prune(_ context.Context, name batch.Shard, oldest batch.ID) error {
	sh, err := s.shard(name)
	if err != nil {
		return err
	}
	sh.mu.Lock()
	i, _ := sh.findLocked(oldest)
	i = min(i, len(sh.mu.versions)-1)
	if i > 0 {
		sh.mu.versions = slices.Delete(sh.mu.versions, 0, i) // clears what it moved away from
		sh.mu.stale = sh.mu.stale || len(sh.mu.files) > 0
		s.chargeLocked(sh)
	}
	gone := sh.sweepLocked()
	sh.mu.Unlock()
	s.drop(gone)
	return nil
}

// needLocked is what the kept versions of a shard take: of the trees of one
// generation the newest counts, of the others what they do not share with the next.
func (sh *shard) needLocked() int64 {
	n := int64(0)
	for i, v := range sh.mu.versions {
		if i+1 == len(sh.mu.versions) || sh.mu.versions[i+1].gen != v.gen {
			n += v.cost()
		} else {
			n += sh.mu.versions[i+1].tree.Fresh()
		}
	}
	return n + sh.mu.notedBytes
}

// chargeLocked gives back what the versions do not take any more, and takes what
// they take more, if it is to be had.
func (s *Store) chargeLocked(sh *shard) {
	_ = s.takeLocked(sh, sh.needLocked()) // less never fails
}

func (s *Store) takeLocked(sh *shard, want int64) error {
	more := want - sh.mu.charged
	if s.opt.Memory != nil {
		if more > 0 {
			if err := s.opt.Memory.Reserve(more); err != nil {
				return err
			}
		} else {
			s.opt.Memory.Release(-more)
		}
	}
	s.pool.hot.Add(more)
	sh.mu.charged = want
	return nil
}

// pinLocked keeps the files of a base open until it is unpinned.
func (sh *shard) pinLocked(b *base) {
	if len(b.levels) > 0 {
		sh.mu.pins[b]++
	}
}

func (sh *shard) unpinLocked(b *base) {
	if len(b.levels) == 0 {
		return
	}
	if sh.mu.pins[b]--; sh.mu.pins[b] <= 0 {
		delete(sh.mu.pins, b)
		sh.mu.stale = true
	}
}

// sweepLocked takes out the files that neither a version nor a pin needs (G3).
func (sh *shard) sweepLocked() []*file {
	if !sh.mu.stale {
		return nil
	}
	sh.mu.stale = false
	need := map[*file]bool{}
	seen := map[*base]bool{}
	mark := func(b *base) {
		if b == nil || seen[b] {
			return
		}
		seen[b] = true
		for _, l := range b.levels {
			for _, sp := range l.spans {
				need[sp.file] = true
			}
		}
	}
	for _, v := range sh.mu.versions {
		if !v.complete {
			mark(v.read)
		}
		mark(sh.rootLocked(v.node).base)
	}
	for b := range sh.mu.pins {
		mark(b)
	}
	var gone []*file
	for f := range sh.mu.files {
		if !need[f] {
			gone = append(gone, f)
			delete(sh.mu.files, f)
		}
	}
	return gone
}

// drop closes files, and removes those that no manifest has named.
func (s *Store) drop(gone []*file) {
	for _, f := range gone {
		_ = f.close() // nothing was written to it
		if !f.named {
			s.dir.Remove([]statestore.Part{f.part})
		}
	}
}

// takeLookLocked takes what the last transaction has left. Its files may go: they
// are still open, though, until it is closed or used.
func (sh *shard) takeLookLocked() *lookup {
	l := sh.mu.look
	if l != nil {
		sh.mu.look = nil
		sh.unpinLocked(l.base)
	}
	return l
}

func (l *lookup) close() {
	if l != nil {
		_ = l.Lookup.Close() // nothing was written to it
		for _, m := range l.more {
			_ = m.Close()
		}
	}
}

// under opens what lies under a tree. The base is pinned.
func (s *Store) under(sh *shard, b *base) (run.Stack, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.stack == nil {
		stack, err := s.stack(sh, b.levels)
		if err != nil {
			return nil, err
		}
		b.mu.stack = stack
	}
	return b.mu.stack, nil
}

// stack opens the files of runs that are not open yet.
func (s *Store) stack(sh *shard, levels []*level) (run.Stack, error) {
	out := make(run.Stack, 0, len(levels))
	for _, l := range levels {
		level := make(run.Level, 0, len(l.spans))
		for _, sp := range l.spans {
			f, err := s.opened(sh, sp.file)
			if err != nil {
				return nil, err
			}
			if slice := (run.Slice{File: f, First: sp.first, End: sp.end}); !slice.Empty() {
				level = append(level, slice)
			}
		}
		out = append(out, level)
	}
	s.pool.fit()
	return out, nil
}

func (s *Store) opened(sh *shard, f *file) (*run.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.f != nil {
		return f.mu.f, nil
	}
	r, err := s.dir.OpenRun(s.ctx, f.part, s.pool.blocks())
	if err != nil {
		return nil, err
	}
	if r.Shard.Operator != sh.name.Operator {
		return nil, errors.Join(fmt.Errorf("read %s: %w: it holds rows of %s, not of %s", r.Name(), checkpoint.ErrDamaged, r.Shard, sh.name), r.Close())
	}
	f.mu.f = r
	return r, nil
}

// Close forgets everything. Checkpoints stay on disk.
func (s *Store) Close() error {
	s.relax()
	s.pool.leave(s)
	s.cancel()
	s.wg.Wait()
	if s.dir != nil {
		s.dir.Close()
	}
	shards := s.shards()
	s.mu.Lock()
	s.mu.closed = true
	clear(s.mu.shards)
	s.mu.Unlock()
	for _, sh := range shards {
		sh.mu.Lock()
		sh.mu.closed = true
		sh.mu.versions, sh.mu.stale = nil, true
		_ = s.takeLocked(sh, 0) // less never fails
		left := sh.takeLookLocked()
		gone := sh.sweepLocked()
		sh.mu.Unlock()
		left.close()
		s.drop(gone)
	}
	if s.own {
		s.pool.Close()
	}
	return nil
}
