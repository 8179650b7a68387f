// Package checkpoint writes versions of operator state to files and reads them
// back. It is shared by the state stores: they decide what a version holds, this
// package how it lies on disk. The byte form is in docs/formats/state-checkpoint.md.
//
// A version of a shard is a snapshot file and the change files after it, named
// by a statestore.Manifest. Each file is written under a name that nobody else
// has, synced, renamed and its folder synced before it is named anywhere, so a
// late write of an earlier attempt cannot touch it (C11, C12, C18).
//
// What it never does: decide when to write or how long to keep; trust a size
// that a file declares.
//
// Invariants:
//
//	P1  A Part is returned only when its file and its name are durable.
//	P2  A file is never overwritten: each attempt has a name of its own.
//	P3  Read gives either every row of a part or an error that names the file
//	    and the place; sizes are checked against the file before memory is taken.
//	P4  Collect deletes no file that a live manifest names and none that is newer
//	    than every live manifest, since its checkpoint may still be under way.
//
// Example:
//
//	dir, err := checkpoint.Open(fs, "ck/hot/state")
//	part, err := dir.Write(ctx, checkpoint.Header{Kind: checkpoint.Snapshot, Shard: s, Version: 7, Base: batch.None, Rows: 2},
//		func(put checkpoint.Put) error { return put([]byte("\x00k"), []byte("v"), false) })
//	err = dir.Read(ctx, part, func(key, value []byte, deleted bool) error { .. })
package checkpoint
