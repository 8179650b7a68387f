// Package postgres reads a table of a PostgreSQL database, in two ways.
//
// A query over bounded tables reads what there is now: in one snapshot of the database,
// in ranges of the table's pages that tasks read side by side, only the columns that are
// asked for, and of the rows those that the database can tell apart by itself. What it
// leaves in is filtered above, so that only what is certain goes into its WHERE.
//
// A streaming query looks rows up by key (FOR SYSTEM_TIME AS OF the batch's time). A table
// that others change cannot be read as it was, so that every answer that a batch has used
// is logged before the batch can be committed: a batch that is run again, after a crash
// or as a try, never asks the database for what it has asked before. Of a batch all
// tasks see the same answer to a key, so that it does not matter which of them asks. On a
// cluster the driver asks for all of them (driver/desk.go).
//
// Invariants, besides those of package sources:
//
//	L1  All splits of a range are of one snapshot of the database.
//	L2  An answer that was given to a batch is given to it again, whoever asks and
//	    whenever; Settle returns when that holds across a crash. What is logged for a term
//	    after a higher one has begun counts for nothing.
//	L3  Answers in memory are bounded by number ('lookup.cache-rows') and by what the
//	    last two batches have asked.
package postgres
