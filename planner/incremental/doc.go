// Package incremental derives what the planner must know to run a plan batch by
// batch: which columns carry event time under a watermark, which edges are
// append-only, which output modes a plan can have, and how each stateful
// operator's state is bounded.
//
// It decides about plans and changes none.
package incremental
