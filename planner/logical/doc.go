// Package logical is the relational plan that SQL and the DataFrame API both
// build and that the rules rewrite. A node is immutable; its columns are known
// by position, its names serve people and sinks.
//
// The plan says what is computed, never how: no stages, no parallelism, no
// state. Whether a source is a stream is a fact of its Table.
package logical
