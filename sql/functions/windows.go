package functions

// windows are the functions that look at other rows of their window. They are
// here for the reference page and for suggestions: what they are is a node of the
// plan, not a kernel, and the binder makes it. An example's result lists what it
// gives for each row.
func windows() []*Entry {
	w := func(name, usage, doc, example, result string) *Entry {
		return &Entry{Names: []string{name}, Usage: []string{usage}, Doc: doc, Example: example, Result: result, Since: "0.1", Window: true}
	}
	const three = " OVER (ORDER BY col1) FROM VALUES (10), (20), (20)"
	return []*Entry{
		w("row_number", "row_number()", "The row's number in its partition, from 1.", "row_number()"+three, "1, 2, 3"),
		w("rank", "rank()", "The number of rows before the row's peers, plus 1.", "rank() OVER (ORDER BY col1) FROM VALUES (10), (10), (20)", "1, 1, 3"),
		w("dense_rank", "dense_rank()", "The number of groups of peers up to the row's.", "dense_rank() OVER (ORDER BY col1) FROM VALUES (10), (10), (20)", "1, 1, 2"),
		w("percent_rank", "percent_rank()", "The rank from 0 to 1: (rank - 1) / (rows - 1).", "percent_rank()"+three, "0.0, 0.5, 0.5"),
		w("cume_dist", "cume_dist()", "The share of rows up to the row's peers.", "cume_dist() OVER (ORDER BY col1) FROM VALUES (10), (20), (20), (30)", "0.25, 0.75, 0.75, 1.0"),
		w("ntile", "ntile(int = 1)", "The row's bucket when the partition is dealt out evenly to so many.", "ntile(2)"+three, "1, 1, 2"),
		w("lag", "lag(any, int = 1, any = NULL)", "The value so many rows before, or the default; IGNORE NULLS counts only rows with a value.", "lag(col1, 1, 0)"+three, "0, 10, 20"),
		w("lead", "lead(any, int = 1, any = NULL)", "The value so many rows behind, or the default; IGNORE NULLS counts only rows with a value.", "lead(col1)"+three, "20, 20, NULL"),
		w("nth_value", "nth_value(any, int)", "The value of the frame's n-th row, from 1.", "nth_value(col1, 2)"+three, "NULL, 20, 20"),
	}
}
