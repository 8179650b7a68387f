// Package scratch names the folders that hold what does not fit into memory, and
// removes those that a killed process has left behind.
//
// A folder is made by whoever writes to it first, so a process that never spills
// leaves no trace. Its name says which process it belongs to: the machine (with
// the process namespace, since containers may share a folder for temporary
// files), the process's number and when that process began. So a later process
// can tell that the owner is dead although its number has been given out again.
//
// Invariants:
//
//	T1  A folder is removed only by its owner, or when its name proves that the
//	    owner is dead. In doubt it stays.
//
// Example:
//
//	scratch.RemoveDead(parent)
//	dir := scratch.Name(parent) // not made yet
//	defer os.RemoveAll(dir)
package scratch
