// Package flights runs the demo's pipeline as a user would and compares what it
// wrote with DuckDB's answer over the same files.
package flights
