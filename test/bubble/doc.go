// Package bubble runs the real pieces of a cluster together in bubbles of testing/synctest,
// a seed a bubble: three drivers with the replicated log (driver/raftlog) and the loop of
// package driver, workers with their operators, gRPC and Arrow Flight between them
// (internal/transport/wire), franz-go against a fake broker (kfake), and the state's and the
// file sink's files, all on a network and on disks in memory. Time is virtual, so that an
// hour of outage takes no longer than its timers.
//
// A seed draws the load, the delays and the faults: drivers and workers are killed, all power
// fails, lines are cut both ways or one way, flap or stall, nodes sleep and wake as zombies
// (SIGSTOP), brokers are away and lose answers, disks fail, clocks differ by an hour. Then
// everything comes back, and the outputs have to be whole within a bound of virtual time.
//
// What is held against them, see check_test.go: every row once and in its key's order, counts
// that only grow and end with the recomputed answer, each window once and right, a batch log
// without gaps whose batches are committed once, terms that only one driver commits under, no
// goroutine and no column memory left behind.
//
// TestDays lives on for days instead, at a batch a minute and with a fault every few hours,
// and looks at what is held: memory, goroutines, checkpoints, the drivers' logs.
//
// synctest gives virtual time, not a seeded order: a seed that fails may pass the next time.
// Protocol bugs are replayed by internal/sim; this layer finds what lies between the pieces.
//
// kgo holds mutexes while it waits, which a bubble does not count as waiting. Its build tag
// synctests makes them channels, so that the tests need it too: make bubble.
package bubble
