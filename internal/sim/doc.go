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
// Half the lives have a log in a file, half a replicated one: a change of leader then
// takes what no majority held, and the old leader goes on for a while with a log that
// nobody else has (C16, E2). How a group comes to agree is for driver/raftlog to test.
//
// What it never does: wall time, goroutines, global randomness. Crash points C1
// to C23 are counted as they are hit.
package sim
