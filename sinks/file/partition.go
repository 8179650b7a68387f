package file

import (
	"bytes"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/formats/text"
)

// hiveNull names the directory of rows whose partition column is NULL.
const hiveNull = "__HIVE_DEFAULT_PARTITION__"

// directories tells the directory of each row of one batch, such as
// "day=2024-01-01/origin=JFK".
type directories struct {
	names   []string // of the columns, escaped
	formats []text.Formatter
	values  []arrow.Array
	texts   []*array.String // of the columns that are text, else nil
	value   []byte
}

func (t *target) directories(rec arrow.RecordBatch) (*directories, error) {
	d := &directories{texts: make([]*array.String, len(t.partitions))}
	for i, c := range t.partitions {
		f, err := text.NewFormatter(rec.Column(c), true)
		if err != nil {
			return nil, fmt.Errorf("partition column %q: %w", t.spec.Schema.Field(c).Name, err)
		}
		d.formats, d.values = append(d.formats, f), append(d.values, rec.Column(c))
		d.names = append(d.names, string(escape(nil, []byte(t.spec.Schema.Field(c).Name))))
		d.texts[i], _ = rec.Column(c).(*array.String)
	}
	return d, nil
}

// same reports whether all rows have the directory of the first. It may say no where
// that is so.
func (d *directories) same(rows int) bool {
	for _, s := range d.texts {
		if s == nil || s.NullN() > 0 {
			return false
		}
		off := s.ValueOffsets()
		size := int(off[1] - off[0])
		for i := range rows {
			if int(off[i+1]-off[i]) != size {
				return false
			}
		}
		if b := s.ValueBytes(); size > 0 && !bytes.Equal(b[size:], b[:len(b)-size]) {
			return false
		}
	}
	return true
}

// append writes the directory of a row behind dst.
func (d *directories) append(dst []byte, row int) []byte {
	for i, f := range d.formats {
		if i > 0 {
			dst = append(dst, '/')
		}
		dst = append(append(dst, d.names[i]...), '=')
		if d.values[i].IsNull(row) {
			dst = append(dst, hiveNull...)
			continue
		}
		d.value = f(d.value[:0], row)
		if len(d.value) == 0 {
			// Hive has no directory for the empty string; Spark writes NULL's too.
			dst = append(dst, hiveNull...)
			continue
		}
		dst = escape(dst, d.value)
	}
	return dst
}

// asBefore reports whether a row has the texts of the row before it, and so its
// directory. It may say no where that is so.
func (d *directories) asBefore(row int) bool {
	for _, s := range d.texts {
		if s == nil || row == 0 || s.Value(row) != s.Value(row-1) || s.IsNull(row) != s.IsNull(row-1) {
			return false
		}
	}
	return true
}

// escaped are the bytes that a path cannot hold.
var escaped = func() (is [256]bool) {
	for c := range 0x20 {
		is[c] = true
	}
	for _, c := range []byte("\x7f\"#%'*/:=?\\{}[]^") {
		is[c] = true
	}
	return is
}()

// escape writes what a path cannot hold as % and two digits, as Hive and Spark do.
func escape(dst, v []byte) []byte {
	for i, c := range v {
		if escaped[c] || c == '.' && i == 0 {
			const digits = "0123456789ABCDEF"
			dst = append(dst, '%', digits[c>>4], digits[c&15])
			continue
		}
		dst = append(dst, c)
	}
	return dst
}
