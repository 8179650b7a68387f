// Package statestore is the seam to operator state. Version N of a shard is its
// state after batch N, made from version N-1 and the batch's rows alone.
//
// Keys and values are opaque bytes made by executor/rowkey. The first byte of
// every key is its key group (hash of the grouping key mod batch.KeyGroups), so
// that a shard can be cut anew for another number of partitions.
//
// Invariants:
//
//	T1  A sealed version never changes; version N is made from N-1.
//	T2  A transaction that is discarded leaves no trace.
//	T3  The digest of a version is the sum of the hashes of its rows: equal contents, equal digest.
//	T4  A checkpoint's manifest names every part with its length and checksum and
//	    is returned only when all of them are durable.
//	T5  Nothing that a manifest given to Collect as live names is ever deleted.
package statestore
