// Package debezium reads and writes the changes of a table as Debezium tells them in
// JSON: an envelope with the row before and after the change, and what was done.
//
// A Decoder turns one event, of a file or of a message, into changes: a row that is
// created or read is added; of one that is updated the row before is taken back and the
// row after added; one that is deleted is taken back. Events may stand in the wrapper
// with a schema that Kafka Connect puts around them; a tombstone (null) is nothing.
// Where a table is an upsert table the row before is not needed, and of a deleted row
// its key will do.
//
// What it never does: guess a row before the change that the event does not have, or
// leave an event out in silence.
//
// Example of an event, on one line:
//
//	{"before":{"id":1,"n":2},"after":{"id":1,"n":3},"op":"u","ts_ms":1700000000000,"source":{"table":"t"}}
package debezium
