package sluice

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sources/state"
	"github.com/sluice-stream/sluice/statestore"
)

// AtBatch reads the state as it was after a batch, while the query goes on: the newest
// committed one, or one whose checkpoint is kept (checkpoint.interval,
// checkpoint.retain and checkpoint.retain-age). A read of any other is refused with
// those that there are.
func (o *OperatorState) AtBatch(id int64) *OperatorState {
	c := *o
	c.at, c.past = batch.ID(id), true
	return &c
}

// readAt is read after one batch.
func (o *OperatorState) readAt(ctx context.Context, keys [][]byte, visit func(key, value []byte) error, again func()) (int64, error) {
	if o.at < 0 {
		return -1, batch.UserErrorf("batch %d: the first batch is 0", o.at)
	}
	now, err := o.q.drv.State(o.form.Operator)
	if err == nil && o.at > now.Batch {
		return -1, batch.UserErrorf("batch %d of query %s is not committed; the newest that is is batch %d", o.at, o.q.Name(), now.Batch)
	}
	if err == nil && o.at == now.Batch {
		if id, err := o.read(ctx, keys, visit, again); err != nil || id == int64(o.at) {
			return id, err
		}
		again() // another batch has been committed
	}
	for range state.FindTries {
		if err = o.readCheckpoint(ctx, keys, visit); err == nil || errors.Is(err, errEnough) {
			return int64(o.at), nil
		}
		if !state.Gone(err) || ctx.Err() != nil {
			break
		}
		again()
	}
	return -1, fmt.Errorf("read the state of %s after batch %d: %w", o.form.Operator, o.at, err)
}

// readCheckpoint reads the rows of a checkpoint.
func (o *OperatorState) readCheckpoint(ctx context.Context, keys [][]byte, visit func(key, value []byte) error) error {
	r, err := state.FindIn(vfsx.Default, o.q.s.logs, o.q.dir, "", o.at)
	if err != nil {
		return err
	}
	if was, ok := r.Info.Operator(o.form.Operator); ok {
		form, err := was.Form()
		if err != nil {
			return err
		}
		if why := state.Difference(form, o.form); why != "" {
			return batch.UserErrorf("%s", why)
		}
	}
	var ms []statestore.Manifest
	if ms, err = r.Of(o.form.Operator); err != nil {
		return err
	}
	rows := state.Rows(ctx, vfsx.Default, r.StateDir(vfsx.Default), ms)
	if keys != nil {
		rows = state.RowsOf(ctx, vfsx.Default, r.StateDir(vfsx.Default), ms, keys, o.form.Kind == physical.RowState)
	}
	for row, err := range rows {
		if err != nil {
			return err
		}
		if err := visit(row.Key, row.Value); err != nil {
			return err
		}
	}
	return nil
}
