package tiered

import (
	"errors"
	"slices"
	"sync"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/invariants"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/mem"
	"github.com/sluice-stream/sluice/statestore/run"
)

// version is sealed state. It is never written to: what changes for readers makes
// another one of the same rows.
type version struct {
	id       batch.ID
	tree     *mem.Tree
	complete bool  // the tree holds every row
	read     *base // what lies under the tree, if it is not complete
	node     *node
	state    statestore.Version
	groups   []statestore.Version // by key group from the shard's first
	gen      *generation
}

// generation is trees that share nodes: each was made from the one before.
type generation struct{ _ byte }

// rowOverhead is about what a row takes in a tree besides its key and value.
const rowOverhead = 56

// cost is what the version's tree takes.
func (v *version) cost() int64 { return v.tree.Bytes() }

// whole is what the tree would take if it held every row.
func whole(v statestore.Version) int64 { return v.Bytes + v.Rows*rowOverhead }

// node is a link of the chain of changes (G2). It is guarded by its shard.
type node struct {
	id   batch.ID
	keys keyList // that the version changed
	all  bool    // keys are not known: any may have changed
	prev *node
	base *base // if not nil, it holds everything through here, and the chain ends
	// within says that the base has a part of the next version, too.
	within bool

	end  *node  // where the chain ended when the shard had seen so many cuts
	seen uint64 // cuts
}

// root is where the chain from n ends, found by walking it.
func (n *node) root() *node {
	for n.base == nil {
		n = n.prev
	}
	return n
}

// rootLocked is where the chain from n ends. A chain has a node for each batch since
// the last run, so its end is remembered: whoever asks for every version that is
// sealed takes one step, from the version before, unless the chain was cut meanwhile.
func (sh *shard) rootLocked(n *node) *node {
	at := n
	for at.base == nil && (at.end == nil || at.seen != sh.mu.cuts) {
		at = at.prev
		sh.mu.steps++
	}
	if at.base == nil {
		at = at.end
	}
	if n.base == nil {
		n.end, n.seen = at, sh.mu.cuts
	}
	if invariants.Enabled {
		invariants.Assert(at == n.root(), "the chain of version %d ends at %d", n.id, n.root().id)
	}
	return at
}

// changes lists the keys that have changed since the end of the chain, in the lists
// of the versions, and how many those are. all says that they are not known.
func (n *node) changes() (keys []keyList, count int, all bool) {
	for ; n.base == nil; n = n.prev {
		if n.all {
			return nil, 0, true
		}
		if n.keys.n > 0 {
			keys = append(keys, n.keys)
			count += n.keys.n
		}
	}
	return keys, count, false
}

// endLocked makes n the end of its chain.
func (sh *shard) endLocked(n *node, b *base) {
	n.base, n.keys, n.all, n.prev, n.end = b, keyList{}, false, nil, nil
	sh.mu.cuts++
}

// base is runs over each other, the oldest first. It does not change.
type base struct {
	levels []*level

	mu struct {
		sync.Mutex
		stack run.Stack // the open files, once someone has read them
	}
}

var noRuns = &base{}

// with returns the base with another run on top, if there is one.
func (b *base) with(l *level) *base {
	if l == nil {
		return b
	}
	return &base{levels: append(slices.Clip(b.levels), l)}
}

// replaced returns the base with one run in the place of several that follow each
// other, or nil if they are not there. What was deleted may be gone from the new
// run only if nothing lies under it.
func (b *base) replaced(old []*level, by *level, bottom bool) *base {
	at := slices.Index(b.levels, old[0])
	if at < 0 || len(b.levels)-at < len(old) || !slices.Equal(b.levels[at:at+len(old)], old) || bottom && at > 0 {
		return nil
	}
	out := slices.Clone(b.levels[:at])
	if by != nil {
		out = append(out, by)
	}
	return &base{levels: append(out, b.levels[at+len(old):]...)}
}

func (b *base) bytes() int64 { return sum(b.levels) }

// close closes the files of a base that no shard has got.
func (b *base) close() error {
	var errs []error
	for _, l := range b.levels {
		for _, sp := range l.spans {
			errs = append(errs, sp.file.close())
		}
	}
	return errors.Join(errs...)
}

// level is a run: parts of files in key order.
type level struct {
	spans []span
	bytes int64
	alone *base // of this run only, to pin its files
}

// span is what a file has for the shard.
type span struct {
	file       *file
	first, end int // key groups
}

func newLevel(spans []span) *level {
	if len(spans) == 0 {
		return nil
	}
	l := &level{spans: spans}
	l.alone = &base{levels: []*level{l}}
	for _, s := range spans {
		l.bytes += s.file.part.Bytes
	}
	return l
}

// file is a file of a run, opened when it is read first.
type file struct {
	part  statestore.Part
	named bool // a manifest names it; guarded by its shard
	// published says that the storage has it. Who holds saving of the shard may use it.
	published bool

	mu struct {
		sync.Mutex
		f *run.File
	}
}

func (f *file) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.f == nil {
		return nil
	}
	open := f.mu.f
	f.mu.f = nil
	return open.Close()
}
