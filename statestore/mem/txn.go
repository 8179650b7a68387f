package mem

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/statestore"
)

// txn changes a copy-on-write copy of its base in place.
type txn struct {
	store *Store
	shard *shard
	base  batch.ID
	next  batch.ID
	tree  *tree // nil after Seal and Discard
	at    cursor
	state statestore.Version
	track bool // note changed keys

	changed  []string
	scanning bool
	scratch  []byte
}

var _ statestore.Txn = (*txn)(nil)

// text lends bytes as a string for a lookup; nothing may keep it.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// bytesOf lends a string's bytes to a visitor, who may only read them.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// Get visits the value of each key that exists, in the order of keys.
func (t *txn) Get(keys [][]byte, visit func(i int, value []byte) error) error {
	if err := t.usable("get"); err != nil {
		return err
	}
	for i, k := range keys {
		r := t.at.get(text(k))
		if r == nil {
			continue
		}
		if err := visit(i, r.value); err != nil {
			return err
		}
	}
	return nil
}

// Scan visits the rows with start <= key < end in key order.
func (t *txn) Scan(start, end []byte, visit func(key, value []byte) (bool, error)) error {
	if err := t.usable("scan"); err != nil {
		return err
	}
	t.scanning = true
	defer func() { t.scanning = false }()
	var err error
	t.at.scan(text(start), func(r *Row) bool {
		if end != nil && bytes.Compare(r.key, end) >= 0 {
			return false
		}
		var more bool
		more, err = visit(r.key, r.value)
		return more && err == nil
	})
	return err
}

// Put sets a row.
func (t *txn) Put(key, value []byte) error {
	if err := t.changeable(key); err != nil {
		return err
	}
	old, i := t.at.Place(key)
	noted := false
	if old != nil {
		if string(old.value) == string(value) {
			return nil // nothing to write, nothing to checkpoint
		}
		t.state.Digest = t.state.Digest.Sub(t.hash(key, old.value))
		t.state.Bytes += int64(len(value) - len(old.value))
		noted = old.mark == int64(t.next)
	} else {
		t.state.Rows++
		t.state.Bytes += int64(len(key) + len(value))
	}
	t.state.Digest = t.state.Digest.Add(t.hash(key, value))
	t.at.put(i, old != nil, key, value, int64(t.next))
	if t.track && !noted {
		t.changed = append(t.changed, string(key))
	}
	return nil
}

// Delete removes a row; one that is not there is no error. A key that is deleted
// and put again is noted twice; Checkpoint sorts that out.
func (t *txn) Delete(key []byte) error {
	if err := t.changeable(key); err != nil {
		return err
	}
	old, i := t.at.Place(key)
	if old == nil {
		return nil
	}
	t.state.Digest = t.state.Digest.Sub(t.hash(key, old.value))
	t.state.Rows--
	t.state.Bytes -= int64(len(key) + len(old.value))
	if t.track && old.mark != int64(t.next) {
		t.changed = append(t.changed, string(key))
	}
	t.at.remove(i)
	return nil
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

// Seal makes the changes version base+1.
func (t *txn) Seal(context.Context) (statestore.Version, error) {
	if err := t.usable("seal"); err != nil {
		return statestore.Version{}, err
	}
	v, err := t.store.seal(t)
	t.Discard()
	return v, err
}

// Discard throws the changes away. After Seal it does nothing.
func (t *txn) Discard() { t.tree, t.at, t.changed, t.scratch = nil, cursor{}, nil, nil }

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
