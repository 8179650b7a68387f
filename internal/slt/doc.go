// Package slt runs SQL logic tests: files of statements, queries and the rows
// that they must give, on any engine behind a small interface.
//
// The format is that of SQLite's sqllogictest, with the additions that a
// stream needs:
//
//	# modes: batch stream restart        the first line; batch alone if absent
//	# oracle: duckdb                     the file is also run on this engine
//
//	statement ok | statement error [regexp]
//	CREATE TABLE bids (auction BIGINT, price BIGINT) WITH ('connector'='memory')
//
//	feed bids                            rows in CSV, up to the next blank line
//	1,100
//	2,NULL
//
//	query II rowsort [label]             types, sort mode, label
//	SELECT auction, sum(price) FROM bids GROUP BY auction
//	----
//	1	100
//	2	NULL
//
//	query error [regexp]                 a query that is refused
//	hash-threshold 100                   longer results are kept as an MD5 sum
//	skipif duckdb | onlyif batch         for the record below, by engine or mode
//	halt                                 ends the file here
//
// A result has one line a row and a tab between two values; a line without a
// tab is cut at spaces instead, and is right if that gives as many values as
// there are columns. NULL is NULL, the empty string is (empty), and a tab, a
// newline or a backslash within a value is \t, \n or \\. Types are T text, I integer, R
// real, B boolean, and ? for any; engines may tell theirs.
//
// The modes answer the promise that a query has one text: batch runs the query on
// all that was fed, stream cuts the feeds into k micro-batches for several k, restart
// kills the driver after each of them. All must print the same rows, and after each
// micro-batch the rows accumulated so far must be those that a batch gives over the
// input so far. INSERT INTO is input as a feed is. With three or seven pieces the tables
// grow side by side, else one after the other. Whatever is no query (SHOW, DESCRIBE, ..)
// runs as a batch, and what is accumulated is compared without regard to order. A feed
// below a query is not seen by it.
//
// RunStream runs a part of the queries as streams alone, on an engine that holds by itself
// what they put out on the way.
//
// Invariants:
//
//	L1  The same file gives the same calls to the engine, in the same order.
//	L2  -rewrite changes expected results alone, byte for byte; what batch (the
//	    first mode of a file) prints is what the others are held to.
//	L3  A pass that would cut the input as one of fewer pieces does runs no queries again.
//
// Run one record with -slt=path/to/file.slt:12, where 12 is any line of it.
package slt
