package postgres

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/formats/json"
	"github.com/sluice-stream/sluice/formats/text"
	"github.com/sluice-stream/sluice/internal/pgclient"
)

// appendText appends the text of a value that is not NULL, as the database reads it.
type appendText func(dst []byte, row int) []byte

// values returns what writes the values of a column, plain reporting that the text
// never holds what COPY would have to have escaped.
func (t *target) values(a arrow.Array, to pgclient.Column) (f appendText, plain bool, err error) {
	switch a := a.(type) {
	case *array.String:
		return func(dst []byte, i int) []byte { return append(dst, a.Value(i)...) }, false, nil
	case *array.Binary:
		return func(dst []byte, i int) []byte { return hexText(dst, a.Value(i), to.Base) }, to.Base == "uuid", nil
	case *array.Timestamp:
		f, err = t.timestamps(a, to)
		return f, true, err
	case *array.Date32:
		return func(dst []byte, i int) []byte { return appendDate(dst, int64(a.Value(i))*86400) }, true, nil
	case *array.Time64:
		return func(dst []byte, i int) []byte {
			return time.UnixMicro(int64(a.Value(i))).UTC().AppendFormat(dst, "15:04:05.000000")
		}, true, nil
	case *array.MonthInterval:
		return func(dst []byte, i int) []byte {
			return append(strconv.AppendInt(dst, int64(a.Value(i)), 10), " mons"...)
		}, true, nil
	case *array.Duration:
		return func(dst []byte, i int) []byte { return appendSeconds(dst, int64(a.Value(i))) }, true, nil
	case *array.List:
		if to.Array {
			f, err = t.elements(a, to)
			return f, false, err
		}
		f, err = document(a)
		return f, false, err
	case *array.Struct, *array.Map:
		f, err = document(a)
		return f, false, err
	case *array.Dictionary:
		of, plain, err := t.values(a.Dictionary(), to)
		return func(dst []byte, i int) []byte { return of(dst, a.GetValueIndex(i)) }, plain, err
	}
	of, err := text.NewFormatter(a, false)
	return appendText(of), true, err
}

// hexText writes bytes as the database reads them: a uuid without the sign of bytes.
func hexText(dst, v []byte, base string) []byte {
	if base != "uuid" {
		dst = append(dst, `\x`...)
	}
	return hex.AppendEncode(dst, v)
}

// appendSeconds writes an interval of microseconds.
func appendSeconds(dst []byte, micros int64) []byte {
	u := uint64(micros)
	if micros < 0 {
		dst, u = append(dst, '-'), -u
	}
	dst = strconv.AppendUint(dst, u/1e6, 10)
	frac := strconv.AppendUint(nil, u%1e6+1e6, 10)
	return append(append(append(dst, '.'), frac[1:]...), " seconds"...)
}

// firstYear is the first second of year 1.
const firstYear = -62135596800

// appendDate writes the day of a time, with the era of years before the first.
func appendDate(dst []byte, seconds int64) []byte {
	t := time.Unix(seconds, 0).UTC()
	if seconds >= firstYear {
		return t.AppendFormat(dst, time.DateOnly)
	}
	return append(before(dst, t), " BC"...)
}

func before(dst []byte, t time.Time) []byte {
	return fmt.Appendf(dst, "%04d-%02d-%02d", 1-t.Year(), t.Month(), t.Day())
}

// timestamps writes instants with their zone, or as the session's wall clock where the
// database has no zone, and wall clocks as they are.
func (t *target) timestamps(a *array.Timestamp, to pgclient.Column) (appendText, error) {
	loc, suffix := time.UTC, ""
	if a.DataType().(*arrow.TimestampType).TimeZone != "" {
		if suffix = "Z"; to.Base == "timestamp" {
			var err error
			if loc, err = time.LoadLocation(t.spec.Zone); err != nil {
				return nil, fmt.Errorf("time zone %q: %w", t.spec.Zone, err)
			}
			suffix = ""
		}
	}
	return func(dst []byte, i int) []byte {
		v := time.UnixMicro(int64(a.Value(i))).In(loc)
		if v.Year() > 0 {
			return append(v.AppendFormat(dst, "2006-01-02 15:04:05.999999"), suffix...)
		}
		return append(append(v.AppendFormat(append(before(dst, v), ' '), "15:04:05.999999"), suffix...), " BC"...)
	}, nil
}

// document writes nested values as JSON.
func document(a arrow.Array) (appendText, error) {
	f, err := json.NewFormatter(a)
	return appendText(f), err
}

// elements writes a list as an array of the database.
func (t *target) elements(a *array.List, to pgclient.Column) (appendText, error) {
	in := a.ListValues()
	to.Array = false
	elem, plain, err := t.values(in, to)
	if err != nil {
		return nil, err
	}
	var tmp []byte
	return func(dst []byte, i int) []byte {
		from, end := a.ValueOffsets(i)
		dst = append(dst, '{')
		for j := int(from); j < int(end); j++ {
			if j > int(from) {
				dst = append(dst, ',')
			}
			if in.IsNull(j) {
				dst = append(dst, "NULL"...)
				continue
			}
			if dst = append(dst, '"'); plain {
				dst = elem(dst, j)
			} else {
				tmp = elem(tmp[:0], j)
				for _, c := range tmp {
					if c == '"' || c == '\\' {
						dst = append(dst, '\\')
					}
					dst = append(dst, c)
				}
			}
			dst = append(dst, '"')
		}
		return append(dst, '}')
	}, nil
}

// fields appends the fields of rows for COPY.
type fields []func(dst []byte, row int) ([]byte, error)

// rowFields binds the columns of a record batch.
func (t *target) rowFields(cols []arrow.Array) (fields, error) {
	out := make(fields, len(cols))
	for i, a := range cols {
		name := t.columns[i].Name
		f, plain, err := t.values(a, t.columns[i])
		if err != nil {
			return nil, t.userError("column %q: %v", name, err)
		}
		nan := a.DataType().ID() == arrow.FLOAT32 || a.DataType().ID() == arrow.FLOAT64
		var tmp []byte
		out[i] = func(dst []byte, row int) ([]byte, error) {
			if a.IsNull(row) {
				return append(dst, `\N`...), nil
			}
			if plain && !nan {
				return f(dst, row), nil
			}
			tmp = f(tmp[:0], row)
			if nan && (string(tmp) == "+Inf" || string(tmp) == "-Inf") {
				tmp = append(tmp, "inity"...)
			}
			if bytes.IndexByte(tmp, 0) >= 0 {
				return dst, t.userError("column %q: a text holds a zero byte, which texts in PostgreSQL cannot; take it out with replace(.., char(0), ''), or write BINARY into a bytea", name)
			}
			if len(tmp) > math.MaxInt32/2 {
				return dst, t.userError("column %q: a value of %d bytes", name, len(tmp))
			}
			return escape(dst, tmp), nil
		}
	}
	return out, nil
}

// special are the bytes that COPY takes for something else.
var special = text.NewSet('\\', '\n', '\r', '\t', '\b')

func escape(dst, v []byte) []byte {
	if !special.In(v) {
		return append(dst, v...)
	}
	for _, c := range v {
		switch c {
		case '\\':
			dst = append(dst, '\\', '\\')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
