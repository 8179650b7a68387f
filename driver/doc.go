// Package driver is the shell around the protocol core (package microbatch). It
// carries out what the machine decides: it appends to the batch log, asks
// sources, turns a plan into tasks on workers, reveals output and reports.
//
// It decides nothing about the protocol and never touches a row but those that tasks look
// up, which it asks the outside system for: workers run the tasks, and everything between
// them goes through internal/transport, in one process as between machines.
//
//	loop.go       the machine's loop: what Ready asks, and the answers
//	deployment.go a plan on its workers: messages out, answers in
//	execution.go  one run of a plan's stages as tasks
//	speculate.go  stragglers are begun a second time
//	desk.go       rows that tasks look up in outside systems
//	admission.go  which queries begin that share workers, and in what order
//	appender.go   group commit: one durable write for what has queued up
//	staging.go    sinks work ahead while a commit is being made durable
//	source.go     one goroutine for each source: asks and pushes
//	batch.go      a plan run once over bounded input, without a log
//	listener.go   typed events; logs, metrics and tests are readers of them
//	filelog/      the batch log on files
//
// Invariants:
//
//	D1  Only the loop's goroutine touches the machine. Work runs on goroutines that
//	    the query waits for before it ends; each request is answered once.
//	D2  An answer of a task counts only if it is of an attempt that is under way, and
//	    the first of two ends the other; what other attempts have prepared is aborted.
//	D3  A batch fails only when no task of it runs any more, so that its next
//	    attempt finds the state free. The loser of two attempts is not waited for:
//	    only tasks that touch no state are begun twice.
//	D4  Nothing that is kept grows with the number of batches.
//	D5  Workers are told what an outside system holds by one desk for each query, which
//	    answers those of the running life alone, in its term.
//
// Example:
//
//	q, err := driver.Start(ctx, driver.Options{Name: "hot", Query: log.Metadata().Query, Plan: plan,
//		Sources: srcs, Sinks: snks, Log: log, Transport: node, Workers: []transport.NodeID{"w"}, Parallelism: 4})
//	err = q.ProcessAllAvailable(ctx)
//	err = q.Stop(ctx, false)
package driver
