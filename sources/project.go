package sources

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
)

// Project returns the schema of what Opener.Open was asked for: the columns at
// the given positions in that order, or all if columns is nil. They come from
// outside the connector, so that one beyond the schema is refused.
func Project(schema *arrow.Schema, columns []int) (*arrow.Schema, error) {
	if columns == nil {
		return schema, nil
	}
	fields := make([]arrow.Field, len(columns))
	for i, c := range columns {
		if c < 0 || c >= schema.NumFields() {
			return nil, fmt.Errorf("there is no column %d", c)
		}
		fields[i] = schema.Field(c)
	}
	return arrow.NewSchema(fields, nil), nil
}
