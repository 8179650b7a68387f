// Package microbatch is the protocol of a streaming query as a pure state
// machine: what is planned, run, committed, revealed, checkpointed and replayed,
// and in which order. It decides; the driver acts.
//
// What it never does: I/O, clocks, goroutines, logging. It imports package batch
// and the standard library. The same events give the same decisions, so a seed
// replays a whole life of crashes on one goroutine (internal/sim) and a script
// prints it (internal/timeline).
//
// # The order of effects
//
// For every batch N, and across every crash:
//
//	append Planned(N)            durable before any task of N starts
//	run the tasks of N           result depends on the plan and on state N-1 only
//	all outputs prepared         durable and invisible
//	append Committed(N)          the commit point; not before N-1 is revealed. Sinks may
//	                             send N meanwhile where readers cannot see it
//	reveal N in every sink       until it succeeds, again after any restart
//	append Checkpointed(S)       some S <= N whose state is durable and that is revealed
//	release, truncate            what no recovery can need any more
//
// Everything before Committed may be thrown away and repeated; everything after
// it must be finished. Committed(N) and Planned(N+1) often come in one Ready and
// then share one durable write; batch N+1 runs while N is being revealed. Where showing a
// batch takes longer than making one, N+1 is planned as late as lets it be made when N
// is shown, so that it holds what came until then (pace.go).
//
// # The loop
//
// One goroutine owns a Machine. It feeds events and carries out what Ready asks:
//
//	m, err := microbatch.New(opts)
//	for rec := range log.Replay(ctx, 0) {        // the whole log, oldest first; see below
//		if err := m.Step(microbatch.LogRecord{Record: rec}); err != nil { return err }
//	}
//	m.Step(microbatch.Tick{At: now()})
//	if err := m.Step(microbatch.LogEnd{}); err != nil { return err } // refused by name
//	for {
//		for rd, ok := m.Ready(); ok; rd, ok = m.Ready() {
//			start(rd.Append)     // one durable write for all of them -> LogAppended{rd.AppendThrough}
//			start(rd.Restore)    // load a checkpoint           -> Restored | RestoreFailed
//			start(rd.AskSinks)   // what does the sink hold?    -> SinkHolds | SinkUnknown for each
//			start(rd.Ask)        // how far can it be read?     -> SourceAvailable | SourceFailed for each
//			start(rd.Checkpoint) // take version n, upload later -> CheckpointDone | CheckpointFailed
//			start(rd.Run)        // plan splits, run all tasks  -> BatchDone | BatchFailed
//			start(rd.Reveal)     // Sink.Commit on every sink   -> Revealed | RevealFailed
//			start(rd.Release)    // Source.Release: no answer
//			prune(rd.Prune); truncate(rd.Truncate); publish(rd.Status)
//			wake(rd.WakeAt)
//			m.Advance(rd)        // taken: the machine forgets it
//			if rd.Done { return rd.Err }
//		}
//		ev := <-events           // answers of the work started above, source pushes, the timer
//		m.Step(microbatch.Tick{At: now()})
//		if err := m.Step(ev); err != nil { return err }
//	}
//
// Nothing in a Ready waits for anything else in the same Ready, with one
// exception: Checkpoint takes its version before Run starts changing it. What
// must be durable first has been reported durable by LogAppended before the
// machine asks for what depends on it, so each part may run on its own goroutine
// and answer whenever it is done, in any order. Every request is answered
// exactly once; answers to requests that no longer count (another attempt,
// another batch) are ignored, so a late one does no harm.
//
// The log is read under its fence: from before the first LogRecord on, no older
// driver can append, because this one holds the log's lock or leads its group.
// An append that slipped in between would contradict what this term does next.
//
// Prepared output that no Reveal names (of attempts that were given up, of sinks
// that turn out to show the batch already) is garbage, which sinks collect.
//
// Time enters by Tick alone. The driver feeds the wall clock at its start plus
// the monotonic time since, so that a clock set back an hour stops nothing; the
// machine's own time never falls in any case.
//
// An error from Step is final: the log or an answer contradicts the protocol, and
// going on could show a wrong result. The machine is then done with that error.
//
// # Invariants
//
//	M1  Batch IDs are dense, one plan per ID for ever; each source's ranges join up.
//	M2  The watermark and now() of plans never fall.
//	M3  Planned(N) is durable before any task of N starts.
//	M4  Committed(N) is appended after all outputs of N are prepared, Planned(N) and
//	    Committed(N-1) are durable and N-1 is revealed. So only the last committed
//	    batch can be unrevealed.
//	M5  Output of N is revealed after Committed(N) is durable, never before that of N-1.
//	M6  A plan that was found in the log is run as it stands, never made again.
//	M7  Checkpointed(S) is appended after S is revealed, so that the last committed
//	    batch can be run again as long as its output may be missing somewhere.
//	M8  A replayed batch must give the digests of its Committed record.
//	M9  Started(term) is the first record of a term; older terms change nothing.
//	M10 What the machine holds does not grow with the number of batches.
//	M11 State that a former life has left may be gone on from in place of a checkpoint
//	    if it is a committed version, its digests are those of the record, and no life
//	    began between that one and this.
package microbatch
