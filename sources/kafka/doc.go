// Package kafka reads topics.
//
// The driver's half says how far can be read and cuts a range into one split for each
// topic-partition. Of a stream it fetches ahead all the time, into a buffer with a
// bound for each partition (feed.go); a batch is planned up to what is in memory, and
// the worker's half takes it from there when it runs in the same process. What is not
// there any more, because the batch runs again after a failure or in another process,
// is fetched from the broker: the messages of a range are the same for ever, so it makes
// no difference to a result.
//
// A position is JSON and tells of each partition where the query's reading of it began
// and where it goes on, and of each topic its ID, by which one that was deleted and
// created again under the same name is recognised (position.go).
//
// Only messages of decided transactions are read (read_committed), unless the table
// says otherwise: a range never reaches beyond the last stable offset, and messages of
// transactions that were given up, markers and what compaction took are gaps in it.
//
// Messages that are no longer there when they are to be read (retention, a truncated or
// recreated topic) stop the query with the exact gap; with 'fail-on-data-loss' =
// 'false' it goes on behind the gap, which the position in the batch log then names.
//
// Invariants, besides those of package sources:
//
//	Q1  The messages of a range [from, to) of a topic's ID are the same for ever.
//	Q2  The buffer of a partition never holds more than its bound and one answer.
//	Q3  A partition that is new while the query runs is read from its beginning.
package kafka
