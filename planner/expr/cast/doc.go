// Package cast converts columns between types: CAST, TRY_CAST and the implicit
// casts that the binder inserts, with the rules and the strictness of Spark's
// ANSI mode. It also brings the Arrow types that files and peers use (unsigned
// integers, large and view strings, other time units, dictionaries) to the one
// canonical type of each kind that functions are written over.
//
//	k, err := cast.Kernel(from, to, false) // an error if there is no such cast
//
// A value that cannot be converted is an error that names value and types;
// under TRY it is NULL. Texts of times without a zone are read, and instants
// written, in the session's zone.
package cast
