package mem

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
)

// ErrNoVersion is wrapped when a version is asked for that is not kept.
var ErrNoVersion = errors.New("state version is not kept")

// Options configure a store. Without a Dir it keeps no checkpoints.
type Options struct {
	FS  vfsx.FS // default: the machine's
	Dir string  // of the checkpoint files; empty: Checkpoint and Restore are refused

	// SnapshotRatio is how many times the state's own size the change files may
	// reach before a snapshot replaces them; default 1. Larger writes less and
	// restores slower.
	SnapshotRatio float64
	// ChangesMax is the largest number of change files after a snapshot; default 32.
	ChangesMax int

	// Memory, if not nil, is charged for the newest version of every shard.
	Memory *memory.Tracker
}

// Store is a statestore.Store in memory.
type Store struct {
	opt Options
	dir *checkpoint.Dir // nil without Options.Dir

	mu struct {
		sync.Mutex
		closed bool
		shards map[batch.Shard]*shard
	}
}

var _ statestore.Store = (*Store)(nil)

// version is sealed state.
type version struct {
	id    batch.ID
	tree  *tree // E1
	state statestore.Version
}

// shard is the state of one operator and partition.
type shard struct {
	name batch.Shard

	saving sync.Mutex // held for a whole Checkpoint: one at a time for each shard

	mu struct {
		sync.Mutex
		versions []*version // by ID
		last     *statestore.Manifest
		lastSize sizes    // of last's parts
		lastPart batch.ID // version that the last of them ends at
		// noting says that changed is complete for the versions after notedAfter.
		// It starts with the first checkpoint: before it there is nothing that a
		// change file could build on.
		noting     bool
		notedAfter batch.ID
		gen        int      // counts the times that noting was broken off
		changed    []change // by ID
		rows       int      // in changed
		charged    int64
	}
}

// change lists the keys that a version wrote, each once.
type change struct {
	id   batch.ID
	keys []string
}

type sizes struct{ snapshot, changes int64 }

// Open makes a store.
func Open(opt Options) (*Store, error) {
	if opt.FS == nil {
		opt.FS = vfsx.Default
	}
	if opt.SnapshotRatio <= 0 {
		opt.SnapshotRatio = 1
	}
	if opt.ChangesMax <= 0 {
		opt.ChangesMax = 32
	}
	s := &Store{opt: opt}
	s.mu.shards = map[batch.Shard]*shard{}
	if opt.Dir != "" {
		dir, err := checkpoint.Open(opt.FS, opt.Dir)
		if err != nil {
			return nil, fmt.Errorf("open state store: %w", err)
		}
		s.dir = dir
	}
	return s, nil
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
		s.mu.shards[name] = sh
	}
	return sh, nil
}

// find returns the position of a version; the caller holds sh.mu.
func (sh *shard) findLocked(id batch.ID) (int, bool) {
	return slices.BinarySearchFunc(sh.mu.versions, id, func(v *version, id batch.ID) int { return int(v.id - id) })
}

func (sh *shard) get(id batch.ID) (*version, error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if i, ok := sh.findLocked(id); ok {
		return sh.mu.versions[i], nil
	}
	return nil, fmt.Errorf("shard %s: %w: %d of %s", sh.name, ErrNoVersion, id, sh.keptLocked())
}

func (sh *shard) keptLocked() string {
	vs := sh.mu.versions
	if len(vs) == 0 {
		return "none"
	}
	return fmt.Sprintf("%d to %d", vs[0].id, vs[len(vs)-1].id)
}

// Begin starts version base+1 from version base.
func (s *Store) Begin(_ context.Context, name batch.Shard, base batch.ID) (statestore.Txn, error) {
	sh, err := s.shard(name)
	if err != nil {
		return nil, err
	}
	t := &txn{store: s, shard: sh, base: base, next: base + 1, track: s.dir != nil}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	i, ok := sh.findLocked(base)
	switch {
	case ok:
		v := sh.mu.versions[i]
		t.tree, t.state = v.tree.copy(), v.state
	case base == batch.None:
		t.tree = newTree()
	default:
		return nil, fmt.Errorf("begin batch %d on shard %s: %w: %d of %s", base+1, name, ErrNoVersion, base, sh.keptLocked())
	}
	t.at.t = t.tree
	return t, nil
}

// seal takes over a transaction's tree as the next version.
func (s *Store) seal(t *txn) (statestore.Version, error) {
	sh := t.shard
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if _, ok := sh.findLocked(t.base); !ok && t.base != batch.None {
		return statestore.Version{}, fmt.Errorf("seal version %d of shard %s: %w: %d of %s", t.next, sh.name, ErrNoVersion, t.base, sh.keptLocked())
	}
	if err := s.chargeLocked(sh, t.state); err != nil {
		return statestore.Version{}, fmt.Errorf("seal version %d of shard %s: %w", t.next, sh.name, err)
	}
	i, _ := sh.findLocked(t.next)
	clear(sh.mu.versions[i:]) // what follows came from a base that is now replaced
	sh.mu.versions = append(sh.mu.versions[:i], &version{id: t.next, tree: t.tree, state: t.state})
	sh.noteLocked(t)
	return t.state, nil
}

// noteLocked remembers which keys the version changed, for the next checkpoint.
func (sh *shard) noteLocked(t *txn) {
	if !t.track {
		return
	}
	m := &sh.mu
	if (m.noting && m.notedAfter > t.base) || (m.last != nil && m.last.Version > t.base) {
		sh.forgetLocked() // what was checkpointed, or will be, has been replaced
	}
	if !m.noting {
		return
	}
	for n := len(m.changed); n > 0 && m.changed[n-1].id >= t.next; n-- {
		m.rows -= len(m.changed[n-1].keys)
		m.changed = m.changed[:n-1]
	}
	if len(t.changed) > 0 {
		m.changed = append(m.changed, change{t.next, t.changed})
		m.rows += len(t.changed)
	}
	// More changes than rows: a snapshot is smaller, and memory stays bounded
	// when checkpoints fail for long.
	const fewRows = 1 << 16
	if m.rows > fewRows && m.rows > 2*t.tree.Len() {
		sh.forgetLocked()
	}
}

// forgetLocked makes the next checkpoint a snapshot.
func (sh *shard) forgetLocked() {
	sh.mu.last, sh.mu.changed, sh.mu.rows, sh.mu.noting = nil, nil, 0, false
	sh.mu.gen++
}

// rowOverhead is what a row takes in the tree besides its key and value: a string
// header, the key's length and head, the version and its share of half-full nodes.
const rowOverhead = 72

func (s *Store) chargeLocked(sh *shard, v statestore.Version) error {
	if s.opt.Memory == nil {
		return nil
	}
	want := v.Bytes + v.Rows*rowOverhead
	if more := want - sh.mu.charged; more > 0 {
		if err := s.opt.Memory.Reserve(more); err != nil {
			return err
		}
	} else {
		s.opt.Memory.Release(-more)
	}
	sh.mu.charged = want
	return nil
}

// Digest returns the digest and size of a sealed version.
func (s *Store) Digest(name batch.Shard, id batch.ID) (statestore.Version, error) {
	sh, err := s.shard(name)
	if err != nil {
		return statestore.Version{}, err
	}
	v, err := sh.get(id)
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
	defer sh.mu.Unlock()
	i, _ := sh.findLocked(oldest)
	i = min(i, len(sh.mu.versions)-1)
	if i > 0 {
		sh.mu.versions = slices.Delete(sh.mu.versions, 0, i) // clears what it moved away from
	}
	return nil
}

// Collect deletes checkpoint files that are not needed any more.
func (s *Store) Collect(ctx context.Context, live []statestore.Manifest) error {
	if s.dir == nil {
		return nil
	}
	s.mu.Lock()
	shards := make([]*shard, 0, len(s.mu.shards))
	for _, sh := range s.mu.shards {
		shards = append(shards, sh)
	}
	s.mu.Unlock()
	if len(live) == 0 {
		return nil
	}
	// The next change file builds on the last manifest, whether or not it has
	// reached the log. It does not make older files fair game: those may belong
	// to a checkpoint that is on its way to the log.
	var also []statestore.Manifest
	for _, sh := range shards {
		sh.mu.Lock()
		if sh.mu.last != nil {
			also = append(also, *sh.mu.last)
		}
		sh.mu.Unlock()
	}
	return s.dir.Collect(ctx, live, also)
}

// Close forgets everything. Checkpoints stay on disk.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.closed = true
	for _, sh := range s.mu.shards {
		sh.mu.Lock()
		if s.opt.Memory != nil {
			s.opt.Memory.Release(sh.mu.charged)
		}
		sh.mu.charged, sh.mu.versions = 0, nil
		sh.mu.Unlock()
	}
	clear(s.mu.shards)
	return nil
}
