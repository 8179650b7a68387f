// Package exchange holds what the tasks of one stage hand to the tasks of the
// next. A Writer takes the batches of one task and files them by partition; a
// reader gives one partition back in (task, sequence) order, whoever was first.
//
// Output for a hash exchange is filed by key group, not by partition: a batch is
// sorted by group once, and a reader of partition p out of n takes the slice of
// the groups that p owns. So the writer need not know how many will read.
//
// Output lies in memory up to a limit and beyond that in files, each batch with
// a checksum. It is no durable state: after a restart tasks run again.
//
// Output for the client is another thing: it is read once, in task order, while
// it is made (LiveWriter, Follow). It stays in memory, and a task that is too far ahead
// of who reads it waits.
//
// Invariants:
//
//	H1  What a reader gets is the same, batch for batch, however often and
//	    whenever it reads, until the output is pruned.
//	H2  Only committed output can be read, but for the client's; a second commit of the same task
//	    (another attempt) replaces the first.
//	H3  The newest output of a static stage that is not newer than Prune's batch
//	    stays: later batches read it.
package exchange
