// Package console is a sink that prints committed batches to a terminal or any
// other writer: as an aligned table with a header for each batch, as JSON lines
//
//	{"batch":0,"op":"+I","row":{"origin":"JFK","n":3}}
//
// or as CSV, whose first line names the columns and whose first two columns are
// batch and op. Kinds of change (+I, -U, +U, -D) are shown in tables only where
// the output has them.
//
// A batch is printed when it is committed, in one piece and in the order of batch
// IDs, and within the process never twice, also when the query is started again.
// What was printed cannot be taken back and a terminal does not remember: after
// a crash of the process the last batch may be printed once more. The batch ID in
// each form tells a reader so.
package console
