// Package batch is the vocabulary that every other package of Sluice shares:
// the names of queries, batches, tasks and offsets, and the small records that
// the control plane carries. It decides nothing and imports only the standard
// library, so that the pure protocol core (package microbatch) can lean on it.
//
// What it never does: I/O, time, Arrow data. Rows travel as arrow.RecordBatch
// between the packages of the data plane and are never part of a type here.
//
// Invariants:
//
//	B1  A batch ID is dense: the first is 0 and N+1 follows N.
//	B2  An Offset is opaque outside its source and compared for equality only.
//	B3  A Digest is a sum, so that it does not depend on the order of rows.
package batch
