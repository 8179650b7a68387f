package render

import (
	"encoding/base64"
	"math"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// AppendJSON appends a value as JSON. What JSON has no number for (NaN, the
// infinities) is a string; decimals keep all their digits; an instant carries
// its offset from UTC.
func (f *Formatter) AppendJSON(dst []byte, arr arrow.Array, row int) []byte {
	arr, row = physical(arr, row)
	if isNull(arr, row) {
		return append(dst, "null"...)
	}
	switch a := arr.(type) {
	case *array.Map:
		return f.appendJSONMap(dst, a, row)
	case array.ListLike:
		start, end := a.ValueOffsets(row)
		dst = append(dst, '[')
		for i := int(start); i < int(end); i++ {
			if i > int(start) {
				dst = append(dst, ',')
			}
			dst = f.AppendJSON(dst, a.ListValues(), i)
		}
		return append(dst, ']')
	case *array.Struct:
		dst = append(dst, '{')
		st, ok := a.DataType().(*arrow.StructType)
		for i := 0; ok && i < a.NumField(); i++ {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendJSONString(dst, st.Field(i).Name), ':')
			dst = f.AppendJSON(dst, a.Field(i), row)
		}
		return append(dst, '}')
	}
	if b, ok := bytesOf(arr, row); ok {
		dst = base64.StdEncoding.AppendEncode(append(dst, '"'), b)
		return append(dst, '"')
	}
	if s, ok := stringOf(arr, row); ok {
		return appendJSONString(dst, s)
	}
	if bare(arr, row) {
		return f.appendLeaf(dst, arr, row, 'T', true)
	}
	return append(f.appendLeaf(append(dst, '"'), arr, row, 'T', true), '"')
}

// AppendJSONRow appends a row as an object, with the columns in their order.
func (f *Formatter) AppendJSONRow(dst []byte, rec arrow.RecordBatch, row int) []byte {
	return f.AppendJSONColumns(dst, rec, int(rec.NumCols()), row)
}

// AppendJSONColumns is AppendJSONRow for the first columns of a row.
func (f *Formatter) AppendJSONColumns(dst []byte, rec arrow.RecordBatch, columns, row int) []byte {
	dst = append(dst, '{')
	for i := range columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendJSONString(dst, rec.ColumnName(i)), ':')
		dst = f.AppendJSON(dst, rec.Column(i), row)
	}
	return append(dst, '}')
}

// appendJSONMap appends a map as an object; a key that is no text is printed as text.
func (f *Formatter) appendJSONMap(dst []byte, m *array.Map, row int) []byte {
	start, end := m.ValueOffsets(row)
	dst = append(dst, '{')
	for i := int(start); i < int(end); i++ {
		if i > int(start) {
			dst = append(dst, ',')
		}
		keys, at := physical(m.Keys(), i)
		if s, ok := stringOf(keys, at); ok {
			dst = appendJSONString(dst, s)
		} else {
			dst = appendJSONString(dst, string(f.AppendText(nil, keys, at)))
		}
		dst = f.AppendJSON(append(dst, ':'), m.Items(), i)
	}
	return append(dst, '}')
}

// bare reports whether a leaf is a JSON number or boolean.
func bare(arr arrow.Array, row int) bool {
	switch a := arr.(type) {
	case *array.Float16:
		return finite(float64(a.Value(row).Float32()))
	case *array.Float32:
		return finite(float64(a.Value(row)))
	case *array.Float64:
		return finite(a.Value(row))
	}
	id := arr.DataType().ID()
	return id == arrow.BOOL || arrow.IsInteger(id) || arrow.IsDecimal(id)
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// appendJSONString appends a quoted string. Bytes that are no UTF-8 become the
// replacement character, since JSON has no way to write them.
func appendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(append(dst, s[done:i]...), "\uFFFD"...)
				done = i + 1
			}
			i += size
			continue
		}
		dst = appendEscaped(append(dst, s[done:i]...), c)
		i++
		done = i
	}
	return append(append(dst, s[done:]...), '"')
}

func appendEscaped(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}
