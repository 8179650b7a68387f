// Package tiered keeps operator state that may be larger than memory. Recent rows
// are in a copy-on-write tree for each kept version of each shard, as in package
// mem; older ones are in sorted runs on disk (package run), which lie over each
// other and under the tree. The same runs are the parts of checkpoints.
//
// A shard begins complete: its tree holds every row and nothing is read from
// disk, so small state costs what it costs in package mem. When the rows in
// memory become too many (Pool), the changes since the last run are written as
// another run, and the tree begins anew, empty, over the runs: the shard is
// partial. What is written or read after that is in the tree again. So is what a
// single batch changes beyond the room that there is: it becomes a run of the
// batch's own, which goes when the batch is discarded.
//
// A checkpoint writes what has changed since the last run, as a run, and names
// all of them. Runs of like size are merged in the background, so that they stay
// few and each row is written again a few times only as the state grows.
// Restoring names the runs and reads them when rows are wanted; state that is
// small is loaded.
//
// What it never does: write to a sealed version; delete a file that a manifest
// has named (Collect does, when nothing live names it).
//
// Invariants, besides T1 to T5 of package statestore:
//
//	G1  The rows of a version are those of its tree, and of its runs those whose
//	    keys are not in the tree. A deleted row stays in the tree of a partial
//	    version as such.
//	G2  A chain of nodes leads from each version to the runs that it is built on;
//	    between them it names every key that has changed since, or says that it
//	    does not know.
//	G3  Runs are replaced by others of the same rows only; whoever reads has them
//	    pinned, and a file is closed when neither a version nor a pin needs it.
//	G4  Digest, rows and bytes are kept for each key group. What a change replaces
//	    is subtracted before the version is sealed, even if it is on disk.
//
// Example:
//
//	pool := tiered.NewPool(tiered.PoolOptions{Budget: budget})
//	st, err := tiered.Open(tiered.Options{Dir: "ck/hot/state", Pool: pool})
//	txn, err := st.Begin(ctx, shard, batch.None)
//	err = txn.Put(key, value)
//	v, err := txn.Seal(ctx) // version 0
//	m, err := st.Checkpoint(ctx, shard, 0)
package tiered
