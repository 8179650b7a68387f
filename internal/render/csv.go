package render

import (
	"encoding/base64"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
)

// AppendCSV appends a value as a field of RFC 4180. NULL is the empty field and
// the empty string is "", so that the two can be told apart.
func (f *Formatter) AppendCSV(dst []byte, arr arrow.Array, row int) []byte {
	arr, row = physical(arr, row)
	if isNull(arr, row) {
		return dst
	}
	if s, ok := stringOf(arr, row); ok {
		return appendCSVString(dst, s)
	}
	if b, ok := bytesOf(arr, row); ok {
		if len(b) == 0 {
			return append(dst, '"', '"')
		}
		return base64.StdEncoding.AppendEncode(dst, b)
	}
	if arrow.IsNested(arr.DataType().ID()) {
		start := len(dst)
		dst = f.AppendJSON(dst, arr, row)
		return quoteFrom(dst, start)
	}
	return f.appendLeaf(dst, arr, row, ' ', false)
}

// AppendCSVRow appends the fields of a row, without the end of the line.
func (f *Formatter) AppendCSVRow(dst []byte, rec arrow.RecordBatch, row int) []byte {
	return f.AppendCSVColumns(dst, rec, int(rec.NumCols()), row)
}

// AppendCSVColumns is AppendCSVRow for the first columns of a row.
func (f *Formatter) AppendCSVColumns(dst []byte, rec arrow.RecordBatch, columns, row int) []byte {
	for i := range columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = f.AppendCSV(dst, rec.Column(i), row)
	}
	return dst
}

// AppendCSVHeader appends the names of the columns, without the end of the line.
func AppendCSVHeader(dst []byte, schema *arrow.Schema) []byte {
	for i, field := range schema.Fields() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendCSVString(dst, field.Name)
	}
	return dst
}

func appendCSVString(dst []byte, s string) []byte {
	start := len(dst)
	dst = append(dst, s...)
	if s == "" || needsQuotes(s) {
		return quoteFrom(dst, start)
	}
	return dst
}

// needsQuotes is true for what RFC 4180 asks it for, and for blanks at the ends,
// which many readers strip from a field without quotes.
func needsQuotes(s string) bool {
	for i := range len(s) {
		switch s[i] {
		case ',', '"', '\n', '\r':
			return true
		}
	}
	return s[0] == ' ' || s[len(s)-1] == ' ' || s[0] == '\t' || s[len(s)-1] == '\t'
}

// quoteFrom sets dst[start:] in quotes, in place, and doubles those inside.
func quoteFrom(dst []byte, start int) []byte {
	inside := 0
	for _, c := range dst[start:] {
		if c == '"' {
			inside++
		}
	}
	end := len(dst)
	dst = slices.Grow(dst, inside+2)[:end+inside+2]
	to := len(dst) - 1
	dst[to] = '"'
	for from := end - 1; from >= start; from-- {
		to--
		dst[to] = dst[from]
		if dst[from] == '"' {
			to--
			dst[to] = '"'
		}
	}
	dst[start] = '"'
	return dst
}
