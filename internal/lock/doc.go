// Package lock has the mutex for what is held while its holder waits: for the network, a
// disk, a batch. It is sync.Mutex.
//
// Under the build tag synctests it is a channel. In a bubble of testing/synctest time passes
// only while every goroutine waits for something of the bubble, and who waits for a
// sync.Mutex does not count as waiting (golang/go#77687): if its holder waits for a timer,
// the bubble hangs. So test/bubble is built with that tag, as kgo is, which does the same.
//
// Example:
//
//	type sink struct {
//		commits lock.Mutex // held while a transaction is decided
//	}
package lock
