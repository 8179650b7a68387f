// Package logtest is what every batch log has to do, as tests that each implementation
// of driver.BatchLog runs on itself.
//
// What it never does: damage files or cut lines. How an implementation survives that is
// for its own tests, which know where it keeps what.
//
// Example:
//
//	logtest.Run(t, func(t *testing.T) logtest.Subject { return newSubject(t) })
package logtest
