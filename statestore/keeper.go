package statestore

import (
	"context"
	"errors"

	"github.com/sluice-stream/sluice/batch"
)

// ErrNotHeld is wrapped by Adopt when the store does not hold what it is asked for.
var ErrNotHeld = errors.New("the state is not held")

// HeldVersion is a sealed version of a shard that a store holds.
type HeldVersion struct {
	Shard   batch.Shard  `json:"shard"`
	Version batch.ID     `json:"version"`
	Digest  batch.Digest `json:"digest"`
	Copy    bool         `json:"copy,omitempty"` // of a shard that another store owns (Follower)
}

// Keeper is a Store that can go on with the state of an earlier run of its query, whose
// tasks have all ended.
type Keeper interface {
	// Held lists the versions of every shard, by shard and version.
	Held() []HeldVersion
	// Adopt makes a version that is held the newest of its shard: what was sealed after it
	// never was. It is refused unless the digest is the version's and all files are there
	// that it is read from.
	Adopt(ctx context.Context, v HeldVersion) error
	// Spare says, as when the store was opened, which shards others hold from now on.
	Spare(elsewhere []batch.Shard)
}
