// Package worker is the node that runs tasks. It reads its transport's inbox,
// keeps the plans that were deployed, runs tasks on a fixed number of slots and
// answers each of them, keeps their output for later stages, and carries out
// what the driver says about state: checkpoint, restore, prune.
//
// It decides nothing about batches. What a task may depend on comes in its
// TaskSpec; which connectors and which store a plan uses comes from Connectors,
// so that the package names no implementation.
//
// Invariants:
//
//	W1  Every Run is answered once, by Finished or Failed, a cancelled one too.
//	    A Run that comes again while its task is queued or running is not
//	    started again.
//	W2  A tree of operators is used by one task at a time.
//	W3  A Run of an older term than one seen before for the plan is refused.
//	W4  Close waits for everything that was started.
package worker
