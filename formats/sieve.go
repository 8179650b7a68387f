package formats

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
)

// Condition is a conjunct that all rows wanted fulfil: sources.Condition, whose
// columns are those of ReadSpec.Schema.
type Condition interface {
	Columns() []int
	Total() bool
	Select(cols []arrow.Array, n int, dst []int32) ([]int32, error)
	Skips(rows int64, of func(column int) (batch.ColumnStats, bool)) bool
	Points() []any
}

// RowFilter is what a join wants of the rows: sources.RowFilter.
type RowFilter interface {
	Columns() []int
	Active() bool
	Bounds() (lo, hi int64, ok bool)
	Keep(cols []arrow.Array, n int, dst []int32) []int32
}

// Sifter is a reader that can leave rows out before it has decoded all their
// columns. Where and Filter are called before the first Next. Where returns
// whether the reader applies all conditions to every row.
type Sifter interface {
	Reader
	Where(conditions []Condition) (exact bool)
	Filter(filters []RowFilter)
	Counts() batch.ScanCounts
}
