package executor

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/sluice-stream/sluice/batch"
)

// TestManyKeysLetOthersGoFirst: an operator that touches many keys behind one record batch
// makes room between them, one that touches few is not even asked, and keys are told by
// their place in the whole list.
func TestManyKeysLetOthersGoFirst(t *testing.T) {
	const keys = 3 * keysPerGet
	now, turns := int64(0), 0
	var refuse error
	task := &Task{turnAt: turnEvery, nanos: func() int64 { now += turnEvery; return now }, turn: func() error { turns++; return refuse }}
	store := &mapState{shards: map[string]map[string]string{}}
	inner, err := store.begin(t.Context(), batch.Shard{EndGroup: batch.KeyGroups}, 0)
	if err != nil {
		t.Fatal(err)
	}
	txn := &countedTxn{Txn: inner, task: task}
	list := make([][]byte, keys)
	for i := range list {
		list[i] = binary.BigEndian.AppendUint32([]byte{0}, uint32(i))
		if err := txn.Put(list[i], list[i]); err != nil {
			t.Fatal(err)
		}
		if i == keysPerLook-2 && (turns > 0 || now > 0) {
			t.Fatalf("after %d keys there were %d turns", i+1, turns)
		}
	}
	if turns < keys/keysPerLook/2 {
		t.Errorf("%d turns in %d keys that were written", turns, keys)
	}
	turns = 0
	seen := 0
	if err := txn.Get(list, func(i int, value []byte) error {
		if i != seen || string(value) != string(list[i]) {
			t.Fatalf("key %d is told as %d with the value %x", seen, i, value)
		}
		seen++
		return nil
	}); err != nil || seen != keys || turns < 2 {
		t.Errorf("%d of %d keys, %d turns, %v", seen, keys, turns, err)
	}
	turns, refuse = 0, errors.New("cancelled")
	if err := txn.Get(list, func(int, []byte) error { return nil }); !errors.Is(err, refuse) || turns != 1 {
		t.Errorf("a task that is cancelled while it waits goes on: %v, %d turns", err, turns)
	}
	if txn.updated != keys || txn.removed != 0 {
		t.Errorf("%d and %d changes were counted", txn.updated, txn.removed)
	}
}
