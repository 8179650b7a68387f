// Package rate is Spark's rate source: rows with a timestamp and a counting
// value, so many a second, for demonstrations and for measuring latency.
//
// The time of the query's first start is part of the offset, and the timestamp
// of value v is a function of that time, the rate and the ramp: a restarted query
// makes the same rows again, and makes up for the time that it was down. Unlike
// Spark's, which steps in whole seconds, a value is there as soon as its time has
// come, and the ramp is linear.
//
// Invariants:
//
//	R1  The timestamp of a value never lies before that of a smaller one, nor
//	    after the moment at which the value is first read.
package rate
