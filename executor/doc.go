// Package executor runs one task: it builds a tree of operators from a stage of
// the physical plan and pulls Arrow batches through it. It knows nothing of
// other tasks, of commits or of time: all it needs is in TaskContext.
//
// Invariants:
//
//	E1  The result of a task depends only on its TaskSpec and on state version
//	    Base: never on arrival order, workers or the clock.
//	E2  Every allocation goes through TaskContext.Alloc, so that the memory limit holds.
//	E3  A batch that Next returns belongs to the caller; a batch given is borrowed.
//	E4  Operators are built once and reused: Open starts a micro-batch, io.EOF ends
//	    it, Close ends the operator.
package executor
