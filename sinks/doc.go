// Package sinks is the seam to everything that results go to. Each subfolder
// is one connector. A Writer runs on a worker and makes output durable but
// invisible; the Sink runs on the driver and reveals it after the batch is
// committed.
//
// Invariants:
//
//	K1  Nothing that a Writer did is visible to a reader of the target before Commit.
//	K2  Commit is idempotent by (query, batch): repeating it changes nothing.
//	K3  Commits come in the order of batch IDs.
//	K4  A Commit or Abort with an older term than the target has seen is refused.
package sinks
