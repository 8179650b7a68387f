package sources

import "github.com/apache/arrow-go/v18/arrow"

// RowFilter says which rows of a reader somebody wants, as far as is known while
// a query runs: a join knows the keys of its other side. It is used by the
// goroutine that reads. Whoever reads may apply it early, apply it in part, or
// leave it alone: the rows that it keeps too many do no harm.
type RowFilter interface {
	// Columns lists the positions of its columns in what the reader returns.
	Columns() []int
	// Active reports whether it is worth applying: it knows something, and has
	// dropped enough of the rows that it has seen.
	Active() bool
	// Bounds returns the least and the greatest value wanted of its only column,
	// if that is a signed integer, a date or a time: the number that Arrow stores.
	Bounds() (lo, hi int64, ok bool)
	// Keep appends to dst the positions of the rows wanted, in order. cols are its
	// columns, of n rows.
	Keep(cols []arrow.Array, n int, dst []int32) []int32
}

// Filterable is implemented by readers that can leave out rows before they have
// decoded all their columns. Filter is called before the first Next.
type Filterable interface {
	Filter(filters []RowFilter)
}
