// Package physical is the plan that workers execute: stages of operators, cut
// at exchanges. It is data alone; package executor builds operators from it.
//
// A stage is run as tasks. A Splits stage has one task per source split, a Hash
// stage one per partition, a Single stage one. The rows of a stage go, by its
// Output, to the tasks of later stages, to a sink or to the client. An exchange
// delivers in (task, sequence) order, so that a result does not depend on how
// many workers there are or which was first.
//
// Invariants:
//
//	Y1  A stage reads only stages with a smaller ID.
//	Y2  A Hash stage's exchange keys equal the keys of the state in it
//	    (hash(key, shuffle) = hash(key, state)).
//	Y3  Operator names are made from what is computed, so that a changed query
//	    keeps the state of the operators that did not change.
package physical
