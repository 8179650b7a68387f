// Package text reads single values from text into Arrow builders and writes
// them back: what CSV, JSON and the names of partition directories share.
//
// It never allocates for a value that is good, and never guesses: what is not
// wholly of the asked type is an error.
package text
