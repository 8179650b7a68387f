// Package json reads and writes JSON lines: one object a line.
//
// A line is read twice: once to check its syntax as a whole and find the
// values of wanted fields, and once, field by field, into Arrow builders. So a
// bad line never leaves half a row behind, the last of two equal keys wins, and
// what nobody asked for is only skipped over.
//
// A value that is no string reads into a STRING column as its text; unknown
// fields are ignored, absent ones are NULL.
package json
