// Package latency measures a small batch from data arriving to its commit, over
// many batches: the latency must be low and nothing may grow.
package latency
