// Package stage is what the sinks share whose target lives in this process or
// cannot take anything back: a terminal, a table in memory, a function of the
// program. Their prepared output waits in memory, as retained record batches,
// between Writer.Prepare and Sink.Commit, and the handle is a key to it.
//
// Such a sink is Volatile: a crash of the process loses what was prepared, and the
// last committed batch has to be run again, with Reveal, to be revealed. A handle
// from before the crash is refused with ErrLost: its key names the hub that made
// it, so that it can never be taken for another's.
//
// A Hub belongs to one connector and lives as long as the process. It remembers
// for each query and sink the last batch that was revealed and the highest term,
// so that a query started again in the same process shows no batch twice (K2) and
// an old leader is refused (K4). After a crash nothing remembers: a terminal shows
// the last batch once more, which is as far as exactly-once can go there.
//
// Invariants:
//
//	G1  An entry is dropped by Discard, by Abort, and by the Commit of its batch
//	    or a later one of the same query and sink: attempts that lost never pile up.
//	G2  All entries of a hub together never exceed its limit in bytes.
package stage
