// Package timeline runs scripts of events against the real microbatch.Machine
// and prints what it decides. A script under test/timelines says in its first
// lines what it proves; the printed trace is the contract, and `go test
// ./internal/timeline -rewrite` fills it in for review.
//
// Everything outside the machine is a model of internal/sim/model, and everything
// but the tasks happens at once, in order, until a command holds it back:
//
//	start trigger=(immediate) sources=(a) sinks=(file,kafka:tx)   a driver on an empty log
//	feed a times=(1s,2s)                 rows at event times; windows are 10s unless start says otherwise
//	trigger at=10s                       time passes
//	finish 0                             the tasks of batch 0 finish (task=1: only that one)
//	fail 0 | fail sink=kafka reply=lost  a task, a sink, a source or a checkpoint fails
//	crash before=sink-commit             the driver dies at the next such effect; without an argument, now
//	restart term=2                       another driver on the same log
//	zombie | wake                        the driver is taken for dead; it wakes up
//	drop last=committed                  somebody damages the log
//	expect log | sinks | status          look
//
// What it never does: wall time, randomness, goroutines.
package timeline
