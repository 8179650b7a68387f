// Package cli tries the binary from outside, as a hostile and as a new user
// would: wrong input, wrong flags, interrupts, full disks, and the ordinary way
// of every command, source, sink and format. Each test checks the exit code,
// what is said and what lies on disk. It holds tests only.
package cli
