// Package memory is a source whose rows a program adds: for tests, for the Go
// API and for data that another part of the process makes.
//
// A Stream holds rows; any number of queries may read it, each from the
// beginning. An offset is a number of rows, so that a limit may cut inside of
// what was added at once. Rows live in the process: a query that is started
// again in it goes on where it was, after a crash of the process there is nothing
// to go on with, and reading from an offset past the end is an error that says so.
//
// Invariants:
//
//	E1  Row n is the same for ever: rows are only added, and dropped from the front.
//	E2  With DropReleased, a row is dropped when every open source has released it.
//
// Example:
//
//	s := memory.NewStream(schema)
//	defer s.Close()
//	at, err := s.AddData(rec)
package memory
