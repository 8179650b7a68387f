package file

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/formats/text"
)

// hiveNull names the directory of rows whose partition column is NULL.
const hiveNull = "__HIVE_DEFAULT_PARTITION__"

// partitionOf returns a function that writes the directory of a row, such as
// "day=2024-01-01/origin=JFK", for one batch.
func (t *target) partitionOf(rec arrow.RecordBatch) (func(dst []byte, row int) []byte, error) {
	cols := make([]text.Formatter, len(t.partitions))
	names := make([]string, len(t.partitions))
	for i, c := range t.partitions {
		f, err := text.NewFormatter(rec.Column(c), true)
		if err != nil {
			return nil, fmt.Errorf("partition column %q: %w", t.spec.Schema.Field(c).Name, err)
		}
		cols[i], names[i] = f, string(escape(nil, []byte(t.spec.Schema.Field(c).Name)))
	}
	var tmp []byte
	return func(dst []byte, row int) []byte {
		for i, f := range cols {
			if i > 0 {
				dst = append(dst, '/')
			}
			dst = append(append(dst, names[i]...), '=')
			if rec.Column(t.partitions[i]).IsNull(row) {
				dst = append(dst, hiveNull...)
				continue
			}
			tmp = f(tmp[:0], row)
			if len(tmp) == 0 {
				// Hive has no directory for the empty string; Spark writes NULL's too.
				dst = append(dst, hiveNull...)
				continue
			}
			dst = escape(dst, tmp)
		}
		return dst
	}, nil
}

const special = "\"#%'*/:=?\\{}[]^"

// escape writes what a path cannot hold as % and two digits, as Hive and Spark do.
func escape(dst, v []byte) []byte {
	for i, c := range v {
		if c < 0x20 || c == 0x7f || strings.IndexByte(special, c) >= 0 || c == '.' && i == 0 {
			dst = fmt.Appendf(dst, "%%%02X", c)
			continue
		}
		dst = append(dst, c)
	}
	return dst
}
