// Package counted is the driver's half of the sources that make each row from its
// number (datagen, nexmark): an offset is the number of rows before it, and a
// split's payload the numbers of its first row and of the one after its last.
//
// It decides how far a batch reads and where a range is cut. What the rows are,
// and how they are read, is the connector's.
//
//	src := counted.New(counted.Table{Spec: spec, Schema: schema, Unit: "row", Rows: 1000, Limit: 1 << 53, Trigger: 100, Split: 64, RowBytes: 8})
//	end, err := src.Latest(ctx, "", sources.Limit{})                  // "100" of a stream, else "1000"
//	splits, err := src.Plan(ctx, batch.Range{Source: "t#0", End: end}) // "0 64", "64 100"
//	from, to, err := counted.Rows(splits[1].Payload, 1<<53)           // 64, 100
//
// Invariants:
//
//	C1  A range is cut at multiples of the split size, so that the pieces do not
//	    depend on where a batch starts.
//	C2  Rows that fell due while a paced query was down are not made up for: real
//	    time is tied to the rows at the first question after a start.
package counted
