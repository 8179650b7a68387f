// Package fault names the moments of a batch's life at which tests kill a process
// (`Point`). The program that is shipped has none of it: without the build tag faults
// On is false and Hit is empty, so that the compiler leaves out what they guard.
//
// A test writes the name of a point into the file that Variable names. The first of all
// processes that comes to that point takes the file away and dies as of kill -9:
//
//	fault.Hit(fault.C10) // the batch is committed, and no sink has been told
package fault
