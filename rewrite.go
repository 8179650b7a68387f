package sluice

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow/memory"

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
	return s.rewrite(ctx, dir, m.Shard, []statestore.Manifest{m}, version, func(put rewritten) (rewritten, func() error, error) {
		return put, func() error { return nil }, nil
	})
}

// rewritten takes a row of state.
type rewritten func(key, value []byte) error

// rewrite makes a state version from the rows of another one, which come in key order
// and may go anywhere; neither version has to fit into memory. by returns what takes
// the old rows, and what is called behind the last.
func (s *Session) rewrite(ctx context.Context, dir string, shard batch.Shard, from []statestore.Manifest, version batch.ID,
	by func(put rewritten) (add rewritten, flush func() error, err error)) (m statestore.Manifest, err error) {
	opt := storedIn(dir, s.buckets.state(dir))
	opt.Pool, opt.Memory = s.state, s.memory.Child("state that is converted", 0)
	store, err := tiered.Open(opt)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	txn, err := store.Begin(ctx, shard, batch.None)
	if err != nil {
		return m, err
	}
	defer txn.Discard()
	add, flush, err := by(txn.Put)
	if err != nil {
		return m, err
	}
	for row, err := range state.Rows(ctx, vfsx.Default, dir, from) {
		if err == nil {
			err = add(row.Key, row.Value)
		}
		if err != nil {
			return m, fmt.Errorf("write the state of %s anew: %w", shard.Operator, err)
		}
	}
	if err := flush(); err != nil {
		return m, fmt.Errorf("write the state of %s anew: %w", shard.Operator, err)
	}
	if _, err := txn.Seal(ctx); err != nil {
		return m, err
	}
	m, err = store.Checkpoint(ctx, shard, 0)
	m.Version = version
	return m, err
}

// taken are the manifests of the operators that stay, in the terms of the new plan: of
// those whose types have widened the rows are written anew. dir holds the files that
// the root names, and gets the new ones.
func (s *Session) taken(ctx context.Context, dir string, r *state.Root, d *PlanDiff) ([]statestore.Manifest, error) {
	ms, err := keptManifests(r, d)
	if err != nil {
		return nil, err
	}
	for i := range d.Operators {
		if o := &d.Operators[i]; o.Converted {
			if ms, err = s.converted(ctx, dir, ms, o); err != nil {
				return nil, err
			}
		}
	}
	return ms, nil
}

func (s *Session) converted(ctx context.Context, dir string, ms []statestore.Manifest, o *PlanChange) ([]statestore.Manifest, error) {
	var of, rest []statestore.Manifest
	for _, m := range ms {
		if m.Shard.Operator == o.Name {
			of = append(of, m)
		} else {
			rest = append(rest, m)
		}
	}
	if len(of) == 0 {
		return ms, nil
	}
	var c *state.Converter
	shard := batch.Shard{Operator: o.Name, EndGroup: batch.KeyGroups}
	m, err := s.rewrite(ctx, dir, shard, of, of[0].Version, func(put rewritten) (rewritten, func() error, error) {
		var err error
		if c, err = state.NewConverter(o.old, o.now, memory.DefaultAllocator, put); err != nil {
			return nil, nil, err
		}
		return c.Add, c.Flush, nil
	})
	if c != nil {
		c.Release()
	}
	return append(rest, m), err
}
