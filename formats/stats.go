package formats

import "github.com/sluice-stream/sluice/batch"

// Stats says what a file holds, as far as its metadata tells.
type Stats struct {
	Rows    int64
	Bytes   int64                        // of the rows in memory, roughly
	Columns map[string]batch.ColumnStats // by the name of a column that is not nested
}
