// Package model holds small in-memory models of what surrounds the protocol: a
// replayable source, a query with windowed state, a log that can lose its tail,
// sinks that deduplicate and sinks with transactions, and a checkpoint store. The
// simulator and the timelines drive the real microbatch.Machine against them.
//
// What it never does: clocks, goroutines, randomness. Faults are asked for by
// the caller. A model that sees the protocol broken says so by an error that
// wraps ErrViolation.
package model
