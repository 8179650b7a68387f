// Package sourcetest is the conformance suite of the seam in package sources.
// Every connector's test calls Run, and gets a subtest for each promise that the
// engine leans on: positions only grow and keep to the limit, the same range has
// the same rows after any number of repetitions and restarts and however it is
// cut, splits come in order and can be read at the same time, a projection
// changes no value, a cancelled context ends the reading, and every buffer goes
// back to its allocator.
//
// Example:
//
//	sourcetest.Run(t, sourcetest.Case{
//		Open: func(t testing.TB) (sources.Source, sources.Opener) { .. },
//		Limit: sources.Limit{Rows: 7},
//		Rows:  100,
//	})
package sourcetest
