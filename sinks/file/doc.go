// Package file is the file sink: Parquet, CSV or JSON files in a directory,
// partitioned hive style if asked for, each row exactly once.
//
// A writer stages its files under DIR/_sluice/QUERY/staging, where their names
// end in .staged so that no pattern for data files meets them. Commit writes
// the batch's manifest, which is the sink's commit point, and then renames the
// staged files to their final names. Every step after the manifest may be cut
// off and repeated: a file is staged or it is in its place.
//
// What a plain reader of the directory (ls, DuckDB) sees: whole files only,
// each committed row at most once, and every one when Commit has returned. It
// may see one file of a batch an instant before the next: several renames are
// not one step. A reader that wants whole batches reads the manifests, as
// Sluice's own source does.
//
// Invariants:
//
//	W1  A final name is only ever made by a rename of a synced file that a durable manifest names.
//	W2  A manifest is put where none is: two drivers cannot both commit one batch.
//	W3  A commit of a term older than the newest manifest's is refused.
//	W4  At any instant no row is in two files under final names. Complete mode
//	    and compaction take old files away before new ones come, so that rows
//	    may be missing for the moment between, and never doubled.
//	W5  Staged files of a batch are removed only when that batch, or a later
//	    one, is committed without them.
//
// INSERT OVERWRITE replaces what any query, or anybody else, has put into the
// directory: readers of the manifests see the old rows or the new ones, at every
// moment and after any crash. A plain reader misses rows between the two.
//
// Several queries may write into one directory: each has its own folder of
// manifests, and its name is part of the files' names. docs/formats/file-manifest.md
// has the durable forms.
package file
