// Package csv reads and writes CSV by RFC 4180: fields may be quoted, a quote
// inside is doubled (or escaped, if 'csv.escape' says so), a quoted field may
// hold line ends.
//
// An unquoted field equal to 'csv.null-value' (empty unless set) is NULL; a
// quoted empty field is the empty string, and the writer keeps to that. Blank
// lines are skipped, except in a file of one column, where they are its NULL.
// A record with more or fewer fields than the header (or the schema) is an
// error that names file and line, or with 'bad-rows' = 'null' reads NULL for
// what is missing and leaves out what is too much, as Spark's PERMISSIVE does.
package csv
