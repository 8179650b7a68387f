// Package bucket keeps a checkpoint in an object store and shows it as a folder.
//
// A checkpoint is many small files that change (the batch log, what sources write
// down, savepoints, who has it open) and large ones that never do (runs of state).
// The small ones are held in memory; what changes them is written as one sequence of
// numbered objects, the journal, each put on the condition that nobody has used its
// number. So an append to the batch log is one request, and of two processes on one
// checkpoint one loses the next number: it is fenced, and changes nothing any more.
// The byte form is in docs/formats/bucket-journal.md.
//
// Runs are written to a folder on the machine, which is a cache, and put into the
// store when a checkpoint names them (see checkpoint.OpenMirrored); one that the
// folder has not is read from the store, as far as it is wanted.
//
// Invariants:
//
//	B1  Sync returns nil only when the change, and all before it, are in the store.
//	B2  Two processes never write the same number of the journal.
//	B3  After a change that may or may not be in the store nothing is written: what
//	    the store holds is found out by opening the checkpoint again.
//	B4  What another process could need is deleted only after it was seen, later than
//	    what is deleted, that there is none.
//	B5  The end of the journal is found by asking for the next number, never by a list.
//
// Example:
//
//	p, err := bucket.Open(bucket.Options{Dir: dir, Journal: journal, State: state})
//	log, err := filelog.Open(filelog.Options{Dir: dir}) // below the mount
//	store, err := tiered.Open(tiered.Options{Dir: filepath.Join(dir, "state"), Storage: p.Storage()})
package bucket
