// Package sinktest is the conformance suite of the seam in package sinks: K1 to
// K4, attempts that lose, batches without rows, and every buffer given back.
// Every connector's test calls Run with a way to open the sink over the same
// target again, as a restart would, and a way to read the target as a stranger.
//
// Example:
//
//	sinktest.Run(t, func(t testing.TB) sinktest.Case {
//		dir := t.TempDir()
//		return sinktest.Case{
//			Open:    func(t testing.TB) (sinks.Sink, sinks.WriterFactory) { .. },
//			Visible: func(t testing.TB) []string { .. sinktest.Line(id, name) .. },
//		}
//	})
package sinktest
