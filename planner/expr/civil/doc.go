// Package civil turns days and microseconds since 1970 into calendar fields and
// back, in any time zone, and reads and writes Spark's texts of dates,
// timestamps and intervals. The calendar is the proleptic Gregorian one.
//
// A Zone remembers the span of the offset that it used last, so that a column
// of neighbouring times costs one look-up in the zone's table.
package civil
