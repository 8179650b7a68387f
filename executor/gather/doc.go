// Package gather picks rows out of Arrow columns by position: what joins, sorts
// and exchanges do after they have decided. It is column-wise and allocates once
// per buffer, never per row.
//
// A negative position stands for a row of NULLs, which is how outer joins fill up.
package gather
