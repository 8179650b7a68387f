// Package rowkey turns rows into bytes: the only encoder of state keys, shuffle
// hashes and state values. Whoever needs to name a key, group by it, order by
// it or keep it asks here, so that a key has one form in all of Sluice.
//
// Three things are made of columns: a Hash per row (routing and key groups), a
// Key per row (bytes that sort as the values do) and a Value per row (the
// compact form in which state is stored). The formats are durable; they are
// written down in docs/formats/state-rows.md and tested against golden bytes.
//
// Invariants:
//
//	K1  Keys compare as bytes as their rows compare column by column: NULL
//	    first, then by value; -0 equals 0, and NaN equals NaN and is the greatest.
//	K2  Equal rows (K1) have equal keys and equal hashes, whether a column is a
//	    dictionary or plain.
//	K3  A key is never a prefix of another key of the same types.
//	K4  Decoding damaged bytes gives an error, never a panic or memory beyond
//	    the size of the input.
//
// Example:
//
//	enc, err := rowkey.NewEncoder(types)
//	var rows rowkey.Rows
//	err = enc.Encode(cols, n, &rows)
//	key := rows.Row(3)
package rowkey
