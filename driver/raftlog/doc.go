// Package raftlog replicates what a cluster's drivers must agree on: the batch log of
// every query, the catalog of queries, their assignments, and the drivers themselves.
// They are one deterministic state machine on hashicorp/raft. The byte forms are in
// docs/formats/raft-log.md.
//
//	<dir>/node.meta            who this disk is, written once
//	<dir>/LOCK                 one process at a time
//	<dir>/raft/00000001.log    raft's log, its term and its vote
//	<dir>/snapshots/*.snap     the state machine, now and then
//
// What it never does: decide what a query does next (package microbatch), run
// anything, retry a failed sync, guess at bytes that it does not understand.
//
// Invariants:
//
//	R1  What Append, Create, Alter, Assign or Truncate acknowledged is on the disks of a
//	    majority, and this node led them then and, within a lease, leads them still.
//	R2  Each life of a query has a term of its own, handed out by the state machine,
//	    greater than any before and never below raft's. What an older one appends is
//	    refused with batch.ErrFenced by every replica alike.
//	R3  Batch IDs are dense, one plan for each, no commit without its plan, no start that
//	    has not read the whole log: the state machine refuses the record, not the reader.
//	R4  The same entries give the same state, byte for byte, whoever applies them; an entry
//	    that cannot be read stops the node by name.
//	R5  After a failed write or sync, or one that does not return, the node leads no more:
//	    it is cut off from the others and says so (Failed). Nothing is tried again.
//	R6  Only a group with nothing valid after it can be torn and is cut off. Other damage
//	    is refused with file and place; of a damaged snapshot the older one is taken, for
//	    which the log is kept.
//	R7  A vote belongs to a disk. One that was wiped, or that is another's, is not talked to
//	    under the old name.
//
// Example:
//
//	n, err := raftlog.Open(raftlog.Options{ID: "d1", Dir: dir, Listen: addr, Peers: peers})
//	err = n.Lead(ctx, func(ctx context.Context, l raftlog.Leadership) error {
//		for _, q := range l.Catalog { // ctx ends when leadership does
//			log, err := n.Log(ctx, q.ID) // fences the life before
//			go run(ctx, driver.Options{Log: log, Protocol: microbatch.Options{Term: log.Term()}, ..})
//		}
//		..
//	})
package raftlog
