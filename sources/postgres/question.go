package postgres

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/google/uuid"

	"github.com/sluice-stream/sluice/formats/text"
	"github.com/sluice-stream/sluice/internal/pgclient"
)

// question is what is looked up: rows by the columns on, of which columns are returned.
type question struct {
	on, columns []int
	about       string
	keys        []lookedUp
}

// lookedUp is one key: its name in logs and caches, and its values as the database reads them.
type lookedUp struct {
	name   string
	values []string
}

// read takes different keys without NULLs.
func (q *question) read(recs []arrow.RecordBatch) error {
	seen := map[string]bool{}
	var name, tmp []byte
	for _, rec := range recs {
		if int(rec.NumCols()) != len(q.on) {
			return fmt.Errorf("keys of %d columns for %d", rec.NumCols(), len(q.on))
		}
		fs := make([]text.Formatter, len(q.on))
		for i, c := range rec.Columns() {
			var err error
			if fs[i], err = keyText(c); err != nil {
				return fmt.Errorf("key %d: %w", i+1, err)
			}
		}
	rows:
		for row := range int(rec.NumRows()) {
			name = append(name[:0], q.about...)
			for i, c := range rec.Columns() {
				if c.IsNull(row) {
					continue rows
				}
				tmp = fs[i](tmp[:0], row)
				if bytes.IndexByte(tmp, 0) >= 0 {
					continue rows // no text of a database holds this
				}
				name = appendString(name, string(tmp))
			}
			if seen[string(name)] {
				continue
			}
			k := lookedUp{name: string(name)}
			for i := range fs {
				k.values = append(k.values, string(fs[i](nil, row)))
			}
			seen[k.name] = true
			q.keys = append(q.keys, k)
		}
	}
	return nil
}

// keyText writes values as the database reads them.
func keyText(a arrow.Array) (text.Formatter, error) {
	switch a := a.(type) {
	case *array.Timestamp:
		suffix := ""
		if a.DataType().(*arrow.TimestampType).TimeZone != "" {
			suffix = "Z"
		}
		return func(dst []byte, i int) []byte {
			return append(time.UnixMicro(int64(a.Value(i))).UTC().AppendFormat(dst, "2006-01-02 15:04:05.999999"), suffix...)
		}, nil
	case *array.Time64:
		return func(dst []byte, i int) []byte {
			return time.UnixMicro(int64(a.Value(i))).UTC().AppendFormat(dst, "15:04:05.999999")
		}, nil
	case *array.Float32:
		return func(dst []byte, i int) []byte { return strconv.AppendFloat(dst, float64(a.Value(i)), 'g', -1, 64) }, nil
	case *array.Binary:
		return func(dst []byte, i int) []byte { return fmt.Appendf(dst, "\\x%x", a.Value(i)) }, nil
	case *array.Dictionary:
		f, err := keyText(a.Dictionary())
		return func(dst []byte, i int) []byte { return f(dst, a.GetValueIndex(i)) }, err
	}
	return text.NewFormatter(a, false)
}

// keyType is the type of the keys that are compared with a column; "" if it cannot be
// looked up by. A type that holds more than the column's makes no difference to its index.
func keyType(dt arrow.DataType, c pgclient.Column) string {
	if c.Array {
		return ""
	}
	switch dt.ID() {
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64:
		switch c.Base {
		case "int2", "int4", "int8":
			return "bigint"
		}
	case arrow.STRING:
		switch c.Base {
		case "text", "varchar", "name":
			return "text"
		case "bpchar", "citext":
			return c.Base
		case "uuid": // as a text it would be compared without an index
			return "uuid"
		}
	case arrow.BOOL:
		if c.Base == "bool" {
			return "bool"
		}
	case arrow.FLOAT32, arrow.FLOAT64:
		switch c.Base {
		case "float4", "float8":
			return "float8"
		}
	case arrow.DECIMAL128:
		if c.Base == "numeric" {
			return "numeric"
		}
	case arrow.BINARY, arrow.DATE32, arrow.TIME64:
		if want := map[arrow.Type]string{arrow.BINARY: "bytea", arrow.DATE32: "date", arrow.TIME64: "time"}[dt.ID()]; c.Base == want {
			return want
		}
	case arrow.TIMESTAMP:
		if own := map[bool]string{true: "timestamptz", false: "timestamp"}[dt.(*arrow.TimestampType).TimeZone != ""]; c.Base == own {
			return own
		}
	default:
	}
	return ""
}

// array writes a column of keys as an array of the database. A text that is no UUID is
// NULL among UUIDs: it has no rows.
func (q *question) array(column int, keys []int, typ string) []byte {
	b := []byte{'{'}
	for i, at := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		if typ == "uuid" && uuid.Validate(q.keys[at].values[column]) != nil {
			b = append(b, "NULL"...)
			continue
		}
		b = append(b, '"')
		for _, c := range []byte(q.keys[at].values[column]) {
			if c == '"' || c == '\\' {
				b = append(b, '\\')
			}
			b = append(b, c)
		}
		b = append(b, '"')
	}
	return append(b, '}')
}
