package executor

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/statestore"
)

// ttlTxn lets rows of an operator's state go that have not changed for a time. Its
// index is a state of its own beside the operator's:
//
//	[key group][0][expiry][unit] -> nothing     in the order in which units go
//	[key group][1][unit] -> expiry              to find the entry above
//
// A unit is a key, or what the keys that go together begin with. All times are the
// now() of batches, so that a replay lets go of the same rows.
type ttlTxn struct {
	statestore.Txn
	ttl     physical.StateTTL
	index   statestore.Txn
	now     batch.EventTime
	touched map[string]struct{}
	nanos   int64 // that letting go has taken
	expired int64 // units that went
}

// The plan knows these bytes by names of its own.
var _ = [1]struct{}{}[physical.LastVersion-versionLast+physical.PairRow-pairRow]

// ttlSteps is into how many steps the time to live is cut: rows go at the end of a
// step, and a row that changes within one costs the index nothing.
const ttlSteps = 64

// newTTL starts a batch: what is over goes before the operator sees anything.
func newTTL(txn, index statestore.Txn, ttl physical.StateTTL, now batch.EventTime, first, end int) (*ttlTxn, error) {
	t := &ttlTxn{Txn: txn, ttl: ttl, index: index, now: now, touched: map[string]struct{}{}}
	for g := first; g < end; g++ {
		if err := t.expire(byte(g)); err != nil {
			return nil, fmt.Errorf("let go of state after its time to live: %w", err)
		}
	}
	return t, nil
}

// unit is what goes together with a row; nil for one that stays.
func (t *ttlTxn) unit(key []byte) []byte {
	if t.ttl.Tag != 0 && (len(key) < 2 || key[1] != t.ttl.Tag) {
		return nil
	}
	if t.ttl.Inputs != nil && t.ofInput(key) == 0 {
		return nil
	}
	if t.ttl.Tail >= len(key) {
		return nil
	}
	return key[:len(key)-t.ttl.Tail]
}

// ofInput is the time to live of a row by the input that its key names.
func (t *ttlTxn) ofInput(key []byte) int64 {
	at := len(key) - t.ttl.InputAt
	if at < 1 || int(key[at]) >= len(t.ttl.Inputs) {
		return 0 // a mark
	}
	return t.ttl.Inputs[key[at]]
}

// micros is the time to live of a unit. Rows that go together have the same.
func (t *ttlTxn) micros(unit []byte) int64 {
	if t.ttl.Inputs == nil || t.ttl.Tail > 0 {
		return t.ttl.Micros
	}
	return t.ofInput(unit)
}

func (t *ttlTxn) Put(key, value []byte) error {
	if u := t.unit(key); u != nil {
		if _, ok := t.touched[string(u)]; !ok {
			t.touched[string(u)] = struct{}{}
		}
	}
	return t.Txn.Put(key, value)
}

// Delete leaves the entry of a row that goes by itself: when its time comes there
// is nothing left to delete. A unit that goes on is touched by its other rows.
func (t *ttlTxn) Delete(key []byte) error { return t.Txn.Delete(key) }

// Seal notes when what the batch has changed will go.
func (t *ttlTxn) Seal(ctx context.Context) (statestore.Version, error) {
	units := make([]string, 0, len(t.touched))
	for u := range t.touched {
		units = append(units, u)
	}
	slices.Sort(units)
	for _, u := range units {
		if err := t.note([]byte(u), t.expiry(t.micros([]byte(u)))); err != nil {
			return statestore.Version{}, fmt.Errorf("note the time to live of state: %w", err)
		}
	}
	return t.Txn.Seal(ctx)
}

// expiry is when what changes now goes: at the first step's end that is a full time
// to live away.
func (t *ttlTxn) expiry(micros int64) uint64 {
	step := max(micros/ttlSteps, 1)
	at := int64(t.now) + micros
	return uint64((at + step - 1) / step * step)
}

func (t *ttlTxn) note(unit []byte, at uint64) error {
	key := ttlStampKey(unit)
	old := uint64(0)
	err := t.index.Get([][]byte{key}, func(_ int, v []byte) error {
		if len(v) != 8 {
			return fmt.Errorf("the expiry of a row has %d bytes", len(v))
		}
		old = binary.BigEndian.Uint64(v)
		return nil
	})
	if err != nil || old == at {
		return err
	}
	if old != 0 {
		if err := t.index.Delete(ttlDueKey(unit, old)); err != nil {
			return err
		}
	}
	if err := t.index.Put(ttlDueKey(unit, at), nil); err != nil {
		return err
	}
	return t.index.Put(key, binary.BigEndian.AppendUint64(nil, at))
}

func ttlStampKey(unit []byte) []byte { return append([]byte{unit[0], 1}, unit[1:]...) }

func ttlDueKey(unit []byte, at uint64) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{unit[0], 0}, at), unit[1:]...)
}

// expire lets go of the units of a key group whose time is over.
func (t *ttlTxn) expire(group byte) error {
	var units [][]byte
	var dues [][]byte
	const head = 2 + 8
	end := binary.BigEndian.AppendUint64([]byte{group, 0}, uint64(max(t.now, 0))+1)
	err := t.index.Scan([]byte{group, 0}, end, func(key, _ []byte) (bool, error) {
		if len(key) < head {
			return false, fmt.Errorf("an entry of the expiry index has %d bytes", len(key))
		}
		dues = append(dues, bytes.Clone(key))
		units = append(units, append([]byte{group}, key[head:]...))
		return true, nil
	})
	if err != nil {
		return err
	}
	t.expired += int64(len(units))
	for i, u := range units {
		if err := t.index.Delete(dues[i]); err != nil {
			return err
		}
		if err := t.index.Delete(ttlStampKey(u)); err != nil {
			return err
		}
		if err := t.drop(u); err != nil {
			return err
		}
	}
	return nil
}

// drop deletes the rows of a unit.
func (t *ttlTxn) drop(unit []byte) error {
	if t.ttl.Tail == 0 {
		return t.Txn.Delete(unit)
	}
	var keys [][]byte
	err := t.Txn.Scan(unit, successor(unit), func(key, _ []byte) (bool, error) {
		if bytes.Equal(t.unit(key), unit) {
			keys = append(keys, bytes.Clone(key))
		}
		return true, nil
	})
	for _, k := range keys {
		if err == nil {
			err = t.Txn.Delete(k)
		}
	}
	return err
}
