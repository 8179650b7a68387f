// Package formats turns bytes into Arrow batches and back: Parquet, CSV and
// JSON lines. It is shared by every connector that moves files or messages.
//
// A Format is a value of plain functions. The root package holds the contract,
// the registry and what formats have in common (decompression with caps, the
// output of text, schema merging); each subfolder is one format. formats/text
// reads and writes single values as text.
//
// What a format never does: list directories, keep goroutines after Close,
// trust a size that the bytes declare, or panic on damaged bytes.
//
// Invariants:
//
//	D1  The same bytes, piece and columns give the same rows in the same order.
//	D2  Bytes that cannot be read are an error of kind User that names the file
//	    and the place in it; rows are never skipped in silence.
//	D3  Memory asked for is bounded by what was read and by named limits.
package formats
