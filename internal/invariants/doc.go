// Package invariants states what must hold, in a form that tests enforce and
// production can afford.
//
// A broken invariant is a bug and not an error that a caller could handle.
// There are four ways to say so, by what may happen next:
//
//   - Assert: panics when the binary is built with the tag `invariants` (every
//     default test run is); without the tag it is counted and handed to the
//     reporter, and the program goes on. For conditions whose breach is
//     harmful but not wrong output.
//   - Check: the same under the tag; without it the breach comes back as an
//     error, so that the query stops instead of committing something wrong.
//     For everything that the exactly-once promise rests on.
//   - Unreachable: panics in every build, because there is no value to go on
//     with. For the default of a switch over a sealed interface.
//   - if Enabled { ... }: for checks too dear for production. The compiler
//     removes the block when the tag is absent.
//
// What the package never does: decide anything, or take a lock on the path of a
// condition that holds.
//
// Invariants:
//
//	V1  A condition that holds costs one comparison in Assert and Check.
//
// Example:
//
//	if err := invariants.Check(next == last+1, "batch %d follows %d", next, last); err != nil {
//		return err
//	}
package invariants
