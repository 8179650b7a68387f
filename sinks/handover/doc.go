// Package handover lets the rows of sinks that keep what their writers have prepared in
// memory, such as Kafka, go from workers to the driver, whose process shows them.
//
// Such a sink shows its rows by the process that has written them. On a cluster they stay
// with the worker that made them, beside the outputs of its exchanges. The driver reads
// them from there while the batch's commit is made durable, and gives them to the sink's
// own writers. They have to outlive nothing: a sink that does not hold a committed batch
// has it run again from its plan, and until then they are kept, since no batch is
// committed before the one before is shown. A worker that is lost with them ends the life
// of the query, and the next one asks the sink, as after the crash of a process. So no
// folder has to be shared, and nothing of a batch is written twice.
//
// What it never does: decide what is shown, keep anything over a restart.
//
// Invariants:
//
//	G1  Attempts at a task keep the same rows: which of them is read does not matter.
//	G2  The rows of a part are handed on as a whole, as many as its handle says, or not at
//	    all.
//	G3  Of one batch nothing is handed on twice while the process lives.
//
// Example:
//
//	writers := handover.Writers{Keep: keep, Node: "w1", Key: key, Sink: "out#0", Sinks: 1} // on workers
//	sink = handover.New(sink, ownWriters, fetch, "out#0")                                  // on the driver
package handover
