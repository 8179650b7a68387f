package batch

// TableStats says what a table holds, as far as that is cheap to know. A plan
// may be chosen by it; a result never depends on it.
type TableStats struct {
	Rows  int64 // 0 if nothing is known, then Bytes is 0 too
	Bytes int64 // of the rows in memory, all columns
	// Exact says that Rows is a count and not a guess from the size of files.
	Exact bool
	// Columns are those of the table's schema, in order; nil if nothing is known of them.
	Columns []ColumnStats
}

// ColumnStats says what is known of a column's values.
type ColumnStats struct {
	// Min and Max are bounds: nil if unknown, else int64 (integers, days of a date,
	// microseconds of a timestamp), float64 (also decimals, rounded) or string.
	Min, Max any
	Nulls    int64   // how many values are NULL; -1 if unknown
	Distinct float64 // an estimate of how many values differ; 0 if unknown
	Width    float64 // bytes of a value, on average; 0 if unknown
}

// BoundLess reports whether a bound of ColumnStats lies below another. One that is unknown
// lies below none, and none below it.
func BoundLess(a, b any) bool {
	switch a := a.(type) {
	case int64:
		b, ok := b.(int64)
		return ok && a < b
	case float64:
		b, ok := b.(float64)
		return ok && a < b
	case string:
		b, ok := b.(string)
		return ok && a < b
	}
	return false
}
