// Package kafka writes results to a topic.
//
// Exactly once (the default): the rows of a batch go out in one transaction, and in
// the same transaction the batch's ID, the digest of its rows and the term are
// committed as the metadata of an offset, in a consumer group that is named after the
// query and the sink. So output and batch ID are one decision. Which of the two it was
// is read back after a crash, a time-out or an answer that got lost: the batch is
// either there, with a digest to compare, or it is sent again.
//
// A transaction is open only while its batch's commit is made durable and while Commit
// runs: messages and batch ID are sent beside the commit (Stage), and what is left when it
// is durable is to end the transaction. All the same the encoded messages wait in memory
// until then (the sink is volatile: after a crash the last committed batch is run again);
// so no transaction has to survive a process, and one that the broker gives up because of
// its time-out, or that is given up because its commit failed, loses nothing.
//
// Transactional IDs rotate, batch N uses ID N modulo their number: the broker writes
// the markers of a transaction after it has answered, and its ID is busy until then.
// Order holds all the same, since a batch's transaction begins when the one before is
// decided. All IDs are taken up (which fences who had them, and ends what they left
// open) before the first commit of a life and after each failure.
//
// Invariants, besides those of package sinks:
//
//	F1  Batch N is sent under one transactional ID only, after that ID was taken up
//	    and the target's last batch was read: nobody else can be sending it.
//	F2  A message is sent at most once for each decided transaction: after any doubt the
//	    IDs are taken up again, the target is read, and then it is decided anew.
//	    What is staged counts as decided by nobody: any doubt gives it up.
//	F3  A leader of an older term that finds a newer one in the target stops (ErrFenced).
//
// At least once ('delivery' = 'at-least-once'): no transaction, visible at once to
// every reader, and sent beside the commit; after a failure the last batch may come again,
// as it was, since its plan is durable.
//
// Output is append, upsert (a table with a PRIMARY KEY: the message's key is the row's
// and a deletion is a tombstone), or a changelog in Debezium's JSON.
package kafka
