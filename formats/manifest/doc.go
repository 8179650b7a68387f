// Package manifest is the record of which files of a directory are committed:
// written by the file sink, read by the file source and by nothing else.
//
// Under DIR/_sluice/QUERY/manifests lies one file for each committed batch
// with rows, named by the batches it covers. Every hundred of them are folded
// into one, and every hundred of those again, so that their number grows with
// the logarithm of the batches. A fold is written before what it covers is
// removed; whoever reads both leaves out what is covered.
//
// Each file starts with a line of its version and checksum. See
// docs/formats/file-manifest.md.
package manifest
