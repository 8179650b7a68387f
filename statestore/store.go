package statestore

import (
	"context"

	"github.com/sluice-stream/sluice/batch"
)

// Store holds the state of a query's shards on one worker.
type Store interface {
	// Begin starts version base+1 of a shard from version base. batch.None is the
	// empty state. The base must be the shard's newest sealed version or an older
	// one that is still kept; sealing on an older one drops the newer.
	Begin(ctx context.Context, shard batch.Shard, base batch.ID) (Txn, error)
	// Checkpoint makes a sealed version durable and returns its manifest. It runs
	// beside later batches and never blocks them.
	Checkpoint(ctx context.Context, shard batch.Shard, version batch.ID) (Manifest, error)
	// Restore makes version the shard's newest from the manifests of its operator,
	// which may have been cut into other partitions. Damaged parts are refused by name.
	Restore(ctx context.Context, shard batch.Shard, version batch.ID, from []Manifest) error
	// Prune forgets the versions before oldest, but for what a running checkpoint needs.
	Prune(ctx context.Context, shard batch.Shard, oldest batch.ID) error
	// Collect deletes checkpoint files that no live manifest names.
	Collect(ctx context.Context, live []Manifest) error
	// Digest returns the digest and size of a sealed version.
	Digest(shard batch.Shard, version batch.ID) (Version, error)
	Close() error
}

// ShardUse is what the newest version of a shard holds, and where.
type ShardUse struct {
	Shard    batch.Shard
	Version  batch.ID
	Rows     int64
	Bytes    int64 // of keys and values
	Hot      int64 // bytes that rows in memory take, of all kept versions
	Cold     int64 // bytes of the files that it is built on
	Runs     int
	Complete bool // nothing is read from files
}

// Meter is a Store that can tell where its rows are.
type Meter interface {
	// Use tells what each shard holds, in the order of their names.
	Use() []ShardUse
}

// TxnUse is what a transaction asked for, and where the rows of its shard are.
type TxnUse struct {
	Hot       int64 // bytes that the shard's rows take in memory, of all kept versions
	Cold      int64 // bytes of the files that it is built on
	Runs      int   // sorted runs of those
	InMemory  int64 // keys that Get found out about in memory
	Read      int64 // keys that it had to look for in files
	Evictions int64 // times that the shard's rows were pushed out, since it was opened
}

// MeteredTxn is a Txn that can tell, after Seal, too.
type MeteredTxn interface {
	Use() TxnUse
}

// Version describes a sealed version.
type Version struct {
	Digest batch.Digest
	Rows   int64
	Bytes  int64 // of keys and values
}

// Manifest names the files that hold one version of a shard.
type Manifest struct {
	Shard   batch.Shard `json:"shard"`
	Version batch.ID    `json:"version"`
	Parts   []Part      `json:"parts"` // the oldest first: a row of a later part replaces one of an earlier
	State   Version     `json:"state"`
	Groups  Groups      `json:"groups,omitempty"` // what State is the sum of; manifests before runs have none
}

// Part is one file of a checkpoint.
type Part struct {
	Name  string `json:"name"` // relative to the checkpoint's state folder
	Bytes int64  `json:"bytes"`
	Sum   uint64 `json:"sum"` // xxh64 of the whole file

	// Run numbers sorted runs from 1 on, the oldest first: the files of one run do
	// not overlap. 0 is a snapshot or a change file of the older form.
	Run int `json:"run,omitempty"`
	// First and End, if not both zero, are the key groups whose rows are meant: the
	// file was written when the state was cut in another way.
	First int `json:"first,omitempty"`
	End   int `json:"end,omitempty"`
}

// Txn changes one shard from one version to the next. It is used by one goroutine.
type Txn interface {
	// Get visits the value of each key that exists, in the order of keys. The
	// value is valid inside visit only.
	Get(keys [][]byte, visit func(i int, value []byte) error) error
	// Scan visits the rows with start <= key < end in key order, this transaction's
	// own changes included; a nil end is the end of the shard. visit returns false
	// to stop. Key and value are valid inside visit only; the shard must not be
	// changed during a Scan.
	Scan(start, end []byte, visit func(key, value []byte) (bool, error)) error
	// Put and Delete change a row. The transaction copies what it keeps.
	Put(key, value []byte) error
	Delete(key []byte) error
	// Seal makes the changes version base+1, immutable and not yet durable.
	Seal(ctx context.Context) (Version, error)
	// Discard throws the changes away. After Seal it does nothing.
	Discard()
}
