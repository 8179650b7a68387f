// Package nexmark holds the queries of the Nexmark benchmark and the tables that
// they read, for the tests beside it and for bench/nexmark.
//
// The queries are written from the meaning of Flink's: its spellings, but every
// order is total, so that each query has one answer. q6 is repaired, q7 and q5
// put out what Flink's compute. Queries are of these modes: append where rows
// never change, update where the result has a key, else changelog.
package nexmark
