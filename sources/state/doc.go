// Package state reads the state of streaming queries as tables: that of a
// checkpoint or a savepoint on disk, what changed between two checkpoints, and that
// of a running query. It also keeps the description of a plan in its checkpoint
// (planinfo.go), which tells the columns of state and the columns that were
// inferred for tables, so that neither has to be found again.
//
// What it never does: change a checkpoint; read state with a store, which would
// make it its own; hold a version's rows in memory: files are merged as they are
// read.
//
// Invariants:
//
//	S1  A version is read whole and checked, or the read fails and names the file.
//	S2  Rows come in the order of their keys, which begins with the key group.
//	S3  A description is written before the log names its plan, so that one that
//	    names another plan than the log is older, and never newer.
//
// Example:
//
//	SELECT * FROM state('ck/hot', 'aggregate-4b2a6c01d7e9')
//	SELECT * FROM state_changes('ck/hot', 'aggregate-4b2a6c01d7e9', 10, 20)
package state
