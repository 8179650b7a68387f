package batch

// ScanCounts says what a reader of a source did.
type ScanCounts struct {
	Rows         int64 // passed over or returned: all that there are, in the end
	Groups       int64 // row groups of files
	GroupsPruned int64 // not read, by what the file says of them
	PagesPruned  int64 // ranges of pages not read, by what the file says of them
	RowsPruned   int64 // of the row groups and pages that were not read
	RowsSifted   int64 // read in part, and left out by a condition or a filter
}

// Add sums counts.
func (c *ScanCounts) Add(o ScanCounts) {
	c.Rows += o.Rows
	c.Groups += o.Groups
	c.GroupsPruned += o.GroupsPruned
	c.PagesPruned += o.PagesPruned
	c.RowsPruned += o.RowsPruned
	c.RowsSifted += o.RowsSifted
}
