// Package run reads and writes sorted runs of state rows: the files that state
// is made of once it leaves memory. A run is an ordered, immutable set of rows,
// deleted ones included; runs that lie over each other, the newest on top, are
// the state of a shard. The same files are what a checkpoint names, so that
// what was pushed out of memory is not written a second time to be durable, and
// what a checkpoint names can be read in place.
//
// A file is a table in the format of Pebble (blocks with a checksum each, an
// index, a Bloom filter over the keys), followed by a tail of our own that says
// whose rows it holds. The byte form is in docs/formats/state-run.md. Blocks are
// read when they are wanted, through a Cache that the process shares.
//
// What the package never does: decide when to write, merge or delete; trust a
// size that a file declares; let a panic of the reader below it out.
//
// Invariants:
//
//	R1  The rows of a file are in strictly rising order of keys.
//	R2  Whatever a damaged file gives is an error that wraps ErrDamaged and names
//	    the file; a row that was read is one that was written.
//	R3  In a Stack a row of a newer level hides those of older ones with its key.
//
// Example:
//
//	w := run.NewWriter(f, run.Info{Shard: s, Version: 7, ID: id})
//	err := w.Add(key, value, false)
//	sum, err := w.Finish() // length and checksum of the file
//	file, err := run.Open(ctx, readable, name, cache)
//	stack := run.Stack{{run.Slice{File: file, First: 0, End: 256}}}
//	at := stack.Lookup(ctx)
//	defer at.Close()
//	value, found, err := at.Get(key)
package run
