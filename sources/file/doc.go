// Package file is the file source: Parquet, CSV or JSON files of a directory,
// a glob or one file, read once as a table or for ever as a stream of files.
//
// Files whose name, or whose directory's name, starts with _ or . are left
// out. Directories named key=value give a column each. A directory that
// Sluice's own file sink has written to is read by the sink's manifests alone.
//
// Columns that are not declared are those of all files together, by name: integers
// widen (INT, BIGINT, DECIMAL, DOUBLE), decimals get digits, dates become timestamps,
// structs get the fields of both, and what a file lacks is NULL. Types that nothing
// holds are refused with both files. Of more than 4,096 Parquet or Arrow files, and
// of more than 16 text files, so many are looked at, evenly spread. A stream keeps the
// columns of its start: what later files have besides is left out, and a value that
// does not fit stops it with the file's name. Declared columns have to be in each
// file, unless the format's 'missing-columns' is 'null'.
//
// A file has to be whole when it appears: write it elsewhere (or under a name
// that starts with _ or .) and rename it. 'min-file-age' helps where that
// cannot be had. A file that changes after it was listed is an error that
// names it, never a silent difference.
//
// Invariants:
//
//	R1  A file's place in the stream is durable in the file log before Latest
//	    returns an offset behind it; so a restart plans the same files.
//	R2  Within one listing files are ordered by time of change, then by path.
//	R3  A split is read only from a file of the size and time that were listed.
//	R4  The log's torn tail, which no offset covers, is cut off; damage before it is refused by name.
package file
