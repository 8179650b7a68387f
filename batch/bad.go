package batch

// BadRow is a row that could not be decoded or computed, on its way into the
// quarantine. Raw is borrowed: who keeps it copies it.
type BadRow struct {
	Raw    []byte // as it stands in the source; of a computed row, its columns as JSON
	File   string // where it was read, if the source has files
	Line   int64  // of the file, counted from 1; 0 where there are no lines
	Offset int64  // of its first byte in the file (behind decompression); -1 if it is not known
	Reason string
	Table  string // the source's; "" for a row that is not as it came from one
}
