// Package worker is the node that runs tasks. It reads its transport's inbox,
// keeps the plans that were deployed, runs tasks on a fixed number of slots and
// answers each of them, keeps their output for later stages, and carries out what
// the driver says about state: checkpoint, restore, prune. Queries share the slots
// by the time that their tasks take (share.go).
//
// It decides nothing about batches. What a task may depend on comes in its
// TaskSpec; which connectors and which store a plan uses comes from Connectors,
// so that the package names no implementation.
//
// Invariants:
//
//	W1  Every Run is answered once, by Finished or Failed, a cancelled one too, unless
//	    its driver is gone.
//	    A Run that comes again while its task is queued or running is not
//	    started again.
//	W2  A tree of operators is used by one task at a time.
//	W3  A Run of an older term than one seen before for the plan is refused.
//	W4  Close waits for everything that was started.
//	W5  As many tasks hold a slot as there are slots, or none waits. A task that
//	    waits for another task of its worker, or for a reader, holds none.
//	W6  State that a plan leaves is gone on with only by a plan of the same query and a
//	    newer term, shard by shard as the driver names them, and only if no life has begun
//	    between the two. It is the first to go when memory is short.
//	W7  A copy of another worker's shard has committed versions alone. It writes no
//	    files, and no batch waits for it.
//	W8  A task that runs when its driver is gone runs on, and is answered to the first newer
//	    leader that asks for the very same. Of an orphan and a Run of the same task with
//	    another spec only the Run is left, which begins when the orphan has ended.
package worker
