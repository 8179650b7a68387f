package tiered

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/mem"
)

// txn changes a copy-on-write copy of its base's tree in place.
type txn struct {
	store *Store
	shard *shard
	from  *version
	next  batch.ID
	tree  *mem.Tree // nil after Seal and Discard
	at    mem.Cursor
	mark  int64 // of rows that this transaction has written

	complete bool
	read     *base   // under the tree, if it is not complete
	look     *lookup // in read; nil if the tree is complete
	failed   bool    // look has failed: nobody else is to use it
	pinned   *base
	prev     *node // what the next node follows, if not from's
	gen      *generation

	state  statestore.Version
	groups []statestore.Version
	mine   bool // groups is a copy

	track   bool // note changed keys
	copies  bool // what a copy takes in (Follow): it writes nothing
	changed keyList
	// pending are keys that were changed without a look at the row under the tree:
	// it is subtracted from the state before the version is sealed (G4).
	pending keyList
	missed  missed

	checkAt  int64 // heap at which memory is looked at again
	reserved int64
	scanning bool
	scratch  []byte
	found    *found // of Get
	use      statestore.TxnUse
	hits     int64 // keys that were found under the tree
	there    bool  // most keys that are not in the tree are thought to be under it
	small    bool  // merges give way to it
}

var (
	_ statestore.Txn        = (*txn)(nil)
	_ statestore.MeteredTxn = (*txn)(nil)
)

// checkBytes is how much a transaction's tree grows between two looks at memory.
const checkBytes = 4 << 20

// Marks of rows: that of the transaction that wrote it, and whether the row is
// deleted. A row that was only read carries readMark.
const (
	deadBit  = 1
	readMark = -2
)

func dead(r *mem.Row) bool { return r.Mark() >= 0 && r.Mark()&deadBit != 0 }

// open makes ready to look under the tree.
func (t *txn) open() error {
	stack, err := t.store.under(t.shard, t.read)
	if err != nil {
		return err
	}
	t.look = &lookup{Lookup: stack.Lookup(t.store.ctx), base: t.read}
	return nil
}

// below returns what lies under the tree for a key.
func (t *txn) below(key []byte) (value []byte, ok bool, err error) {
	if value, ok, err = t.look.Get(key); err != nil {
		t.failed = true
	}
	return value, ok, err
}

// Scan visits the rows with start <= key < end in key order.
func (t *txn) Scan(start, end []byte, visit func(key, value []byte) (bool, error)) error {
	if err := t.usable("scan"); err != nil {
		return err
	}
	t.scanning = true
	defer func() { t.scanning = false }()
	if t.look != nil && len(t.read.levels) > 0 {
		return t.scanBoth(start, end, visit)
	}
	var err error
	at := t.tree.Cursor()
	at.From(start, func(r *mem.Row) bool {
		k := r.Key()
		if end != nil && bytes.Compare(k, end) >= 0 {
			return false
		}
		if dead(r) {
			return true
		}
		var more bool
		more, err = visit(k, r.Value())
		return more && err == nil
	})
	return err
}

// scanBoth visits the rows of the tree and those under it.
func (t *txn) scanBoth(start, end []byte, visit func(key, value []byte) (bool, error)) (err error) {
	stack, err := t.store.under(t.shard, t.read)
	if err != nil {
		return fmt.Errorf("read state of shard %s: %w", t.shard.name, err)
	}
	rows := stack.Rows()
	defer func() {
		if e := rows.Close(); err == nil {
			err = e
		}
	}()
	under, err := rows.Seek(start)
	if err != nil {
		return fmt.Errorf("read state of shard %s: %w", t.shard.name, err)
	}
	stopped := false
	// upTo visits what lies under the tree below a key, and passes over that key.
	upTo := func(key []byte) error {
		for under && !stopped {
			c := -1
			if key != nil {
				c = bytes.Compare(rows.Key(), key)
			}
			if c > 0 || end != nil && bytes.Compare(rows.Key(), end) >= 0 {
				return nil
			}
			if c < 0 && !rows.Deleted() {
				more, err := visit(rows.Key(), rows.Value())
				if stopped = !more; err != nil || stopped {
					return err
				}
			}
			var err error
			if under, err = rows.Next(); err != nil {
				return fmt.Errorf("read state of shard %s: %w", t.shard.name, err)
			}
		}
		return nil
	}
	at := t.tree.Cursor()
	at.From(start, func(r *mem.Row) bool {
		k := r.Key()
		if end != nil && bytes.Compare(k, end) >= 0 {
			return false
		}
		if err = upTo(k); err != nil || stopped {
			return false
		}
		if dead(r) {
			return true
		}
		var more bool
		more, err = visit(k, r.Value())
		stopped = !more
		return more && err == nil
	})
	if err == nil && !stopped {
		err = upTo(nil)
	}
	return err
}

// Put sets a row.
func (t *txn) Put(key, value []byte) error {
	if err := t.changeable(key); err != nil {
		return err
	}
	r, at := t.at.Place(key)
	g := t.group(key)
	noted := r != nil && r.Mark()&^deadBit == t.mark
	there := r != nil
	switch {
	case there && !dead(r):
		if string(r.Value()) == string(value) {
			return nil // nothing to write, nothing to checkpoint
		}
		old := r.Value()
		h := t.hash(key, old)
		t.state.Digest, g.Digest = t.state.Digest.Sub(h), g.Digest.Sub(h)
		t.count(g, 0, int64(len(value)-len(old)))
	default:
		t.count(g, 1, int64(len(key)+len(value)))
	}
	h := t.hash(key, value)
	t.state.Digest, g.Digest = t.state.Digest.Add(h), g.Digest.Add(h)
	t.at.Set(at, there, key, value, t.mark)
	if t.track && !noted {
		t.changed.add(key)
	}
	if !there && t.look != nil && !t.missed.has(key) {
		t.pending.add(key)
	}
	return t.grown()
}

// Delete removes a row; one that is not there is no error.
func (t *txn) Delete(key []byte) error {
	if err := t.changeable(key); err != nil {
		return err
	}
	r, at := t.at.Place(key)
	if r != nil && dead(r) || r == nil && (t.look == nil || t.missed.has(key)) {
		return nil
	}
	noted := r != nil && r.Mark() == t.mark
	if r != nil {
		g := t.group(key)
		h := t.hash(key, r.Value())
		t.state.Digest, g.Digest = t.state.Digest.Sub(h), g.Digest.Sub(h)
		t.count(g, -1, -int64(len(key)+len(r.Value())))
	}
	if t.track && !noted {
		t.changed.add(key)
	}
	if t.look == nil {
		t.at.Remove(at)
		return nil
	}
	there := r != nil
	t.at.Set(at, there, key, nil, t.mark|deadBit)
	if !there {
		t.pending.add(key)
	}
	return t.grown()
}

// group returns the counters of a key's group, to be changed.
func (t *txn) group(key []byte) *statestore.Version {
	if !t.mine {
		t.groups, t.mine = slices.Clone(t.groups), true
	}
	return &t.groups[int(key[0])-t.shard.name.FirstGroup]
}

func (t *txn) count(g *statestore.Version, rows, size int64) {
	t.state.Rows += rows
	t.state.Bytes += size
	g.Rows += rows
	g.Bytes += size
}

// hash is that of a row: the key's length keeps ("a","bc") and ("ab","c") apart.
func (t *txn) hash(key, value []byte) batch.Digest {
	b := binary.AppendUvarint(t.scratch[:0], uint64(len(key)))
	b = append(b, key...)
	b = append(b, value...)
	t.scratch = b
	h := xxh3.Hash128(b)
	return batch.Digest{Hi: h.Hi, Lo: h.Lo}
}

// settle subtracts from the state what the pending keys have under the tree.
func (t *txn) settle() error {
	if t.pending.n == 0 {
		return nil
	}
	if err := t.look.Expect(t.pending.n, t.there); err != nil {
		return fmt.Errorf("read state of shard %s: %w", t.shard.name, err)
	}
	var err error
	sorted([]keyList{t.pending}, func(key []byte) bool { // neighbours lie in one block
		err = t.settleKey(key)
		return err == nil
	})
	t.pending = keyList{}
	return err
}

func (t *txn) settleKey(key []byte) error {
	old, ok, err := t.below(key)
	if err != nil {
		return fmt.Errorf("read state of shard %s: %w", t.shard.name, err)
	}
	if ok {
		g := t.group(key)
		h := t.hash(key, old)
		t.state.Digest, g.Digest = t.state.Digest.Sub(h), g.Digest.Sub(h)
		t.count(g, -1, -int64(len(key)+len(old)))
		return nil
	}
	if r, at := t.at.Place(key); r != nil && dead(r) {
		t.at.Remove(at) // there was nothing to delete
	}
	return nil
}

// Seal makes the changes version base+1.
func (t *txn) Seal(ctx context.Context) (statestore.Version, error) {
	if err := t.usable("seal"); err != nil {
		return statestore.Version{}, err
	}
	defer t.Discard()
	if err := t.settle(); err != nil {
		return statestore.Version{}, fmt.Errorf("seal version %d: %w", t.next, err)
	}
	return t.store.seal(ctx, t)
}

// Discard throws the changes away. After Seal it does nothing.
func (t *txn) Discard() {
	if t.tree == nil {
		return
	}
	t.tree, t.at, t.changed, t.pending, t.missed, t.scratch = nil, mem.Cursor{}, keyList{}, keyList{}, missed{}, nil
	t.release()
	if t.small {
		t.store.pace.end()
	}
	sh, look := t.shard, t.look
	t.look, t.found = nil, nil
	sh.mu.Lock()
	sh.mu.running--
	sh.mu.asked = t.use.InMemory + t.use.Read
	if t.use.Read > 0 {
		sh.mu.there = t.hits > t.use.Read/2
	}
	if look != nil && !t.failed && sh.mu.look == nil && !sh.mu.closed {
		sh.mu.look, look = look, nil
		sh.pinLocked(sh.mu.look.base)
	}
	if t.pinned != nil {
		sh.unpinLocked(t.pinned)
		t.pinned = nil
	}
	gone := sh.sweepLocked()
	sh.mu.Unlock()
	look.close() // before its files
	t.store.drop(gone)
}

func (t *txn) usable(what string) error {
	switch {
	case t.tree == nil:
		return fmt.Errorf("%s in batch %d on shard %s: it was sealed or discarded", what, t.next, t.shard.name)
	case t.scanning && what != "get":
		return fmt.Errorf("%s in batch %d on shard %s: a scan is under way", what, t.next, t.shard.name)
	}
	return nil
}

// changeable refuses a key that belongs to another shard: it would be lost when
// the shard is cut anew.
func (t *txn) changeable(key []byte) error {
	if t.tree == nil || t.scanning {
		return t.usable("change")
	}
	s := &t.shard.name
	if len(key) == 0 || int(key[0]) < s.FirstGroup || int(key[0]) >= s.EndGroup {
		return fmt.Errorf("change shard %s of key groups %d to %d: the key %x is of another group", s, s.FirstGroup, s.EndGroup, key)
	}
	return nil
}
