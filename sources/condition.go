package sources

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
)

// Condition is one conjunct of a query's WHERE. Rows of which it is not true are
// dropped above the scan, so that a reader may leave them out.
type Condition interface {
	// Columns lists the positions of its columns in what the reader returns, ascending.
	Columns() []int
	// Total reports that it cannot fail, so that it may be asked of values that no
	// row holds, and before other conditions.
	Total() bool
	// Select appends to dst the positions of the rows of which it is true, in
	// order. cols are its columns, of n rows.
	Select(cols []arrow.Array, n int, dst []int32) ([]int32, error)
	// Skips reports that it is true of none of the rows of a part of the data. of
	// tells what is known of a column there, by its position in what the reader returns.
	Skips(rows int64, of func(column int) (batch.ColumnStats, bool)) bool
	// Points returns the values that its only column has to have one of, in the
	// form of batch.ColumnStats; nil if it does not say.
	Points() []any
}

// Comparing is implemented by conditions that may compare one column with a constant.
type Comparing interface {
	// Compares returns the comparison (<, <=, >, >=) and the constant, in the form of
	// batch.ColumnStats, if that is what the condition does.
	Compares() (op string, value any, ok bool)
}

// Conditional is implemented by readers that can leave out rows before they have
// decoded all their columns. Where is called before the first Next. It returns
// whether the reader applies all conditions to every row, so that nobody has to
// do it again.
type Conditional interface {
	Where(conditions []Condition) (exact bool)
}

// Pruned is implemented by sources that leave out whole files by Spec.Where.
type Pruned interface {
	Pruned(ctx context.Context) (kept, all int, err error)
}

// Counted is implemented by readers that leave rows out.
type Counted interface {
	// Counts covers what was returned, or passed over, so far.
	Counts() batch.ScanCounts
}
