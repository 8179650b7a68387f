package sluice

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/sources/state"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/checkpoint"
	"github.com/sluice-stream/sluice/statestore/tiered"
)

// raised is a manifest as one of a later version with the same rows. One of the older
// form names its version in its files, which are written anew.
func (s *Session) raised(ctx context.Context, dir string, m statestore.Manifest, version batch.ID) (statestore.Manifest, error) {
	if m.Version == version || checkpoint.InRuns(m) {
		m.Version = version
		return m, nil
	}
	return s.rewrite(ctx, dir, m.Shard, []statestore.Manifest{m}, version, func(put rewritten, key, value []byte) error { return put(key, value) })
}

// rewritten takes a row of the new state.
type rewritten func(key, value []byte) error

// rewrite makes a state version from the rows of another one. Rows come in key order
// and may go anywhere; neither has to fit into memory.
func (s *Session) rewrite(ctx context.Context, dir string, shard batch.Shard, from []statestore.Manifest, version batch.ID, row func(put rewritten, key, value []byte) error) (m statestore.Manifest, err error) {
	store, err := tiered.Open(tiered.Options{Dir: dir, Pool: s.state, Memory: s.memory.Child("state that is converted", 0)})
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	txn, err := store.Begin(ctx, shard, batch.None)
	if err != nil {
		return m, err
	}
	defer txn.Discard()
	for kv, err := range state.Rows(ctx, vfsx.Default, dir, from) {
		if err == nil {
			err = row(txn.Put, kv.Key, kv.Value)
		}
		if err != nil {
			return m, fmt.Errorf("write the state of %s anew: %w", shard.Operator, err)
		}
	}
	if _, err := txn.Seal(ctx); err != nil {
		return m, err
	}
	m, err = store.Checkpoint(ctx, shard, 0)
	m.Version = version
	return m, err
}
