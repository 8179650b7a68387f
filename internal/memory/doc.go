// Package memory keeps the process inside one memory limit.
//
// A Budget is a tree of trackers: the process, below it one Tracker per query,
// below that one per operator or task. What is taken from a tracker counts at
// each level above it, and each level may have a limit of its own. Arrow data
// is counted by an allocator that wraps Arrow's; anything else (hash tables,
// sort runs, queues) by Reserve and Release.
//
// Before a request is refused, those who registered with OnSpill are asked to
// let go. An operator that can only spill on its own goroutine answers 0 and
// looks at UnderPressure between two record batches: that turns true at 80 % of
// the limit, well before anything is refused. A refused Reserve returns a
// *LimitError. Arrow's allocator has no error to return, so it panics with the
// same *LimitError, which whoever runs a task recovers and makes the task's
// error: the query stops with advice, the process lives on.
//
// Buffers count at what they take, if the allocator below tells (Sizer). A budget
// that is governed is told to Go's collector as well: garbage counts nowhere, and
// would otherwise grow to the size of what lives.
//
// What the package never does: hold a lock while calling back, block, or free
// anything itself.
//
// Invariants:
//
//	Y1  A level's use never exceeds its limit, not even for a moment.
//	Y2  A level's use is the sum of its children's and of what was taken from it
//	    directly.
//	Y3  After Close nothing of the tracker counts any more, however many of its
//	    buffers a panic has left behind; releasing such a buffer later is harmless.
//
// Example:
//
//	b := memory.NewBudget(4 << 30)
//	q := b.Child("query hot_items", 0)
//	defer q.Close()
//	task := q.Child("task 3", 0)
//	defer task.Close()
//	if err := task.Reserve(hashTableBytes); err != nil {
//		return err // a *LimitError of kind User
//	}
//	return run(ctx, task.Allocator(nil))
package memory
