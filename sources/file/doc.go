// Package file is the file source: Parquet, CSV or JSON files of a directory,
// a glob or one file, read once as a table or for ever as a stream of files.
//
// Files whose name, or whose directory's name, starts with _ or . are left
// out. Directories named key=value give a column each. A directory that
// Sluice's own file sink has written to is read by the sink's manifests alone.
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
