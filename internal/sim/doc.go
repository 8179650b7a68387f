// Package sim lives whole lives of a query on one goroutine: the real
// microbatch.Machine against the models of package model, with a seed that draws
// the options, which faults exist, and every step. The same seed gives the same
// life.
//
// A life: rows arrive, drivers start, work, crash at any instant, wake up as
// zombies of an older term; completions are delayed and reordered; the log loses
// its unsynced tail. After every step checkers compare what became durable or
// visible with the protocol (I1 to I10 of the failure model). At the end faults
// stop, everything has to be processed within a bound, and every sink has to show
// exactly the batch answer.
//
// What it never does: wall time, goroutines, global randomness. Crash points C1
// to C23 that one machine can have are counted as they are hit; C16 is raft's.
package sim
