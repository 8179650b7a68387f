package statestore

import (
	"context"
	"errors"
	"iter"

	"github.com/sluice-stream/sluice/batch"
)

// ErrNotKnown is wrapped when a store cannot tell what has changed between two versions.
var ErrNotKnown = errors.New("the changes are not known")

// ErrGivenUp is wrapped when a copy is gone: it begins anew with the next Rebase.
var ErrGivenUp = errors.New("the copy is given up")

// Change is a row that differs between two versions. It is valid until the next one.
type Change struct {
	Key, Value []byte
	Deleted    bool
}

// Follower is a Store that can hold a copy of shards that another store owns, and follow
// what the owner does to them batch by batch. A copy writes no files, and what it is read
// from are the owner's checkpoints; Keeper.Adopt makes it the store's own.
type Follower interface {
	// Changes returns the rows that differ between two versions that the store has sealed,
	// in the order of their keys, and what the newer one is. ErrNotKnown says that it has
	// forgotten, as after a run of all of them was written.
	Changes(shard batch.Shard, from, to batch.ID) (iter.Seq[Change], Version, error)
	// Follow makes version to of a copy from version from and what has changed. What comes
	// out must be want. If it is not, or there is no room, the copy is given up; if rows
	// ends with an error, or ctx is done, the copy stays as it was. Any error says so by
	// ErrGivenUp, or not.
	Follow(ctx context.Context, shard batch.Shard, from, to batch.ID, rows iter.Seq2[Change, error], want Version) error
	// Rebase makes a copy be read from a checkpoint of a version: one that it has followed,
	// else the copy begins anew with it. It returns the newest version of the copy, which
	// is as it was if there is an error; None if there is none.
	Rebase(ctx context.Context, shard batch.Shard, version batch.ID, from []Manifest) (batch.ID, error)
}
