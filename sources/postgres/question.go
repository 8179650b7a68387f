package postgres

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
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
		return func(dst []byte, i int) []byte { return strconv.AppendFloat(dst, float64(a.Value(i)+0), 'g', -1, 64) }, nil // -0 and 0 are one key
	case *array.Float64:
		f, err := text.NewFormatter(a, false)
		return func(dst []byte, i int) []byte {
			if a.Value(i) == 0 {
				return append(dst, '0')
			}
			return f(dst, i)
		}, err
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

// foreign reports whether no value of a type has a text: UUIDs have one way to be written,
// and the blanks at the end of a char(n) are not its text's. Such a key has no rows,
// although the database would find some.
func foreign(typ, value string) bool {
	switch typ {
	case "uuid":
		u, err := uuid.Parse(value)
		return err != nil || u.String() != value
	case "bpchar":
		return strings.HasSuffix(value, " ")
	}
	return false
}

// exact is what a column and a key have in common besides being equal for the database,
// which may take texts for equal that are not the same (citext, a collation without case):
// a row would be found once for each key of a batch that it equals. "" is nothing.
func exact(typ, column, key string) string {
	switch typ {
	case "text", "bpchar", "citext":
		return fmt.Sprintf(` AND (%s)::text COLLATE "C" = (%s)::text COLLATE "C"`, column, key)
	}
	return ""
}

// array writes a column of keys as an array of the database. A text that no value has is
// NULL: it has no rows.
func (q *question) array(column int, keys []int, typ string) []byte {
	b := []byte{'{'}
	for i, at := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		if foreign(typ, q.keys[at].values[column]) {
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
