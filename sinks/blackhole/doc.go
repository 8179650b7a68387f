// Package blackhole is a sink that counts rows and throws them away: for
// benchmarks, and for queries whose state is what matters. It takes every output
// mode and prepares nothing, so that what is measured is the engine.
package blackhole
