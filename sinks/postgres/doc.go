// Package postgres writes results to a table of a PostgreSQL database, exactly once.
//
// The rows of a batch, and which batch of which query it is with the digest of its
// rows, go into the database in one transaction: output and batch ID are one decision.
// Which of the two it was is read back after a crash or an answer that got lost: the
// batch is either there, with a digest to compare, or it is written again.
//
// Tasks turn rows into the text that COPY takes, side by side; it waits in memory, and
// beyond a bound in a temporary file without a name, so that a crash leaves nothing. One
// connection commits: it copies what the tasks made, in their order. Several connections
// could fill staging tables at the same time, but such a table is written twice, has to
// be found and dropped after a crash, and fills the system catalogs; turning rows into
// text, the larger part of the work, is done in parallel anyway. So the sink is volatile
// until it commits, and transactional from then on.
//
// Rows that only come are copied into the table itself. Where rows have a key they are
// copied into a temporary table of the connection, made once, from which one statement
// deletes and one inserts or updates, the last row of a key last. Complete mode replaces
// all rows. Readers see all of a batch or nothing.
//
// Invariants, besides those of package sinks:
//
//	P1  A transaction that writes rows has locked the query's row in the table of
//	    batches first, and has found there that the batch before is the last, and no
//	    newer term. Another leader waits for that lock, and then finds what was decided.
//	P2  After any doubt the connection is given up, and the row is read on another one
//	    before anything is written again.
//	P3  A leader that waits for the lock ends sessions of older terms, which may have
//	    stopped in the middle of a transaction, and no others.
package postgres
