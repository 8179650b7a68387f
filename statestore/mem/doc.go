// Package mem keeps operator state in memory: a sorted copy-on-write tree for
// each kept version of each shard. Version N shares with N-1 all that did not
// change, so beginning, sealing and discarding a batch cost nothing that grows
// with the state, and a checkpoint reads its version while later ones are made.
//
// A checkpoint writes the rows that changed since the last one, as a change
// file; when the change files together outweigh the state, a snapshot. The files
// are those of package checkpoint.
//
// What it never does: spill. State that does not fit into memory needs another
// store; Options.Memory makes that an error of the query instead of the process.
//
// Invariants, besides T1 to T5 of package statestore:
//
//	E1  A tree that belongs to a sealed version is never written to.
//	E2  The changes since the last checkpoint are known for every sealed version
//	    after it; where they are not, the next checkpoint is a snapshot.
//
// Example:
//
//	st, err := mem.Open(mem.Options{FS: vfsx.Default, Dir: "ck/hot/state"})
//	txn, err := st.Begin(ctx, shard, batch.None)
//	err = txn.Put(key, value)
//	v, err := txn.Seal(ctx) // version 0
//	m, err := st.Checkpoint(ctx, shard, 0)
package mem
