// Package datagen makes rows of the columns that a table declares, for trying
// things out and for load: each column counts up ('sequence') or is drawn at
// random, and the same options always give the same rows.
//
// A value is a function of the seed, the column's name and the row's number, so
// that ranges can be made again and in parallel, and that a column keeps its
// values when others are added.
//
//	option                    for                        default
//	fields.<col>.kind         every type                 random
//	fields.<col>.min, max     numbers, dates and times   all of the type; 0 to 1 for floating
//	                                                     point; 2000 to 2030 for dates and times
//	fields.<col>.length       text, bytes                100, as in Flink
//	fields.<col>.start, end   a sequence                 0 (2000-01-01), no end
//	fields.<col>.step         a sequence                 1 (a second, a day)
//	fields.<col>.null-rate    every type                 0
//
// A table ends after 'number-of-rows', and where the first of its sequences ends.
//
// Invariants:
//
//	D1  A value depends on the seed, the column's own options, its name and type,
//	    and the row's number.
package datagen
